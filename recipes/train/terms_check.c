/* Checks a recipe's terms against its student and teachers before training. */
#include "recipes/train/terms_check.h"

#include "recipes/train/student.h"

vst_status vst_terms_check(const vst_recipe *recipe, const vst_model_config *const *models) {
    vsti_teachers teachers = {0};
    vsti_student student = {0};
    vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP];
    int count;
    vst_status status = vsti_teachers_describe(&teachers, recipe, models);
    if (status == VST_OK)
        status = vsti_student_emit(&student, recipe, &teachers, &(vst_quantization){0}, outputs, &count);
    vsti_student_clear(&student);
    vsti_teachers_clear(&teachers);
    return status;
}
