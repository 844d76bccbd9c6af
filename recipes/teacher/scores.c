/* Class scores of teachers: whose classes they are, and those that the student gets. */
#include <string.h>

#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"

static bool teaches_scores(const vsti_teacher *teacher) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (teacher->taps[i].scores) return true;
    return false;
}

/* Of features alone the classes do not matter: a teacher of others is as good. */
static vst_status match_teacher(vsti_teacher *teacher, const vst_classes *classes) {
    const vst_classes own = vst_model_classes(teacher->model, teacher->name);
    const bool scores = teaches_scores(teacher);
    const vst_status status = vst_classes_match(&teacher->classes, classes, &own);
    if (status == VST_ERROR_MEMORY) return status;
    if (status != VST_OK) return scores ? vst_fail_in(status, "distill.teacher") : VST_OK;
    if (!scores) return VST_OK;
    teacher->scores = vst_alloc((size_t)own.count * sizeof *teacher->scores);
    return teacher->scores ? VST_OK : vst_fail_memory((size_t)own.count * sizeof *teacher->scores);
}

vst_status vsti_teachers_match(vsti_teachers *teachers, const vst_classes *classes) {
    vst_status status = VST_OK;
    for (int i = 0; i < teachers->count && status == VST_OK; i++)
        if (teachers->list[i].model) status = match_teacher(&teachers->list[i], classes);
    return status;
}

void vsti_take_scores(const vsti_teacher *teacher, const vsti_teacher_tap *tap, const float *values, int count,
                      float *target) {
    const size_t batch = (size_t)teacher->batch, own = tap->stored_floats / batch, wanted = tap->floats / batch;
    if (values == target) return;
    if (!tap->scores || !teacher->classes.map || teacher->classes.same) {
        memcpy(target, values, (size_t)count * own * sizeof *target);
        return;
    }
    for (int i = 0; i < count; i++)
        for (size_t c = 0; c < wanted; c++)
            target[(size_t)i * wanted + c] = values[(size_t)i * own + (size_t)teacher->classes.map[c]];
}
