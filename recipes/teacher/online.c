/* Teachers that run beside the student. */
#include <string.h>

#include "recipes/teacher/internal.h"

vst_status vsti_teacher_run(const vsti_teacher *teacher, const float *images, size_t floats, uint32_t step) {
    memcpy(teacher->image, images, floats * sizeof *images);
    const vst_status status = vst_context_run(teacher->context, step);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", teacher->name);
}

vst_status vsti_teachers_run(vsti_teachers *teachers, vst_params *student, const float *average, const vst_batch *batch,
                             vsti_position position) {
    vst_status status = VST_OK;
    const size_t floats = (size_t)batch->count * teachers->image_floats;
    for (int i = 0; i < teachers->count && status == VST_OK; i++) {
        const vsti_teacher *teacher = &teachers->list[i];
        if (teacher->own) vsti_sync_average(teacher, student, average);
        if (!teacher->cached) status = vsti_teacher_run(teacher, batch->images, floats, (uint32_t)position.step);
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
            memcpy(teacher->taps[k].target, vst_context_output(teacher->context, k),
                   teacher->taps[k].floats * sizeof(float));
    }
    return status;
}
