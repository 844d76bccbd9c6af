/* The moving average of the student's weights as a teacher. */
#include <string.h>

#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"

void vsti_sync_average(const vsti_teacher *teacher, vst_params *student, const float *average) {
    const float *values = vst_params_values(student);
    const size_t trained = vst_params_trained(student);
    for (size_t i = 0; i < vst_params_count(teacher->own); i++) {
        const vst_param_info *to = vst_params_at(teacher->own, i), *from = vst_params_at(student, i);
        VST_ASSERT(strcmp(to->name, from->name) == 0);
        memcpy(vst_params_values(teacher->own) + to->offset, (from->offset < trained ? average : values) + from->offset,
               to->count * sizeof *values);
    }
    vst_params_changed(teacher->own);
}
