/* Teachers that run during the student's training. */
#include <string.h>

#include "recipes/teacher/internal.h"

vst_status vsti_teacher_run(vsti_teacher *teacher, const float *images) {
    const vst_status status = vst_session_run(teacher->session, images, teacher->batch, &teacher->outputs);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", teacher->name);
}

vst_status vsti_teachers_run(vsti_teachers *teachers, vst_params *student, const float *average, const vst_batch *batch,
                             vsti_position position) {
    vst_status status = VST_OK;
    for (int i = 0; i < teachers->count && status == VST_OK; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (teacher->own) vsti_sync_average(teacher, student, average);
        if (!teacher->cached) status = vsti_teacher_run(teacher, batch->images);
    }
    teachers->batch = batch;
    teachers->position = position;
    return status;
}

vst_status vsti_bind_teacher_taps(vsti_teachers *teachers) {
    vst_status status = VST_OK;
    for (int i = 0; i < teachers->count && status == VST_OK; i++) {
        const vsti_teacher *teacher = &teachers->list[i];
        if (teacher->cached) status = vsti_read_cached(teachers, teacher);
        for (int k = 0; !teacher->cached && k < teacher->tap_count; k++)
            vsti_take_scores(teacher, &teacher->taps[k], teacher->outputs.taps[k], teacher->batch,
                             teacher->taps[k].target);
    }
    return status;
}
