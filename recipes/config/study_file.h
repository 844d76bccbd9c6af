/* A study: a list of recipes that are trained in turn and compared. */
#ifndef VISTILL_RECIPES_CONFIG_STUDY_FILE_H
#define VISTILL_RECIPES_CONFIG_STUDY_FILE_H

#include <stdbool.h>

#include "vision/base/status.h"

/* A study file:
 *     study: Fashion-MNIST, distillation
 *     output: runs/fashion
 *     seeds: [0]
 *     runs:
 *       - {name: teacher, recipe: fashion-teacher.yaml}
 *       - {name: plain, recipe: fashion-student.yaml}
 *       - {name: distilled, recipe: fashion-distilled.yaml, set: {distill.teacher: teacher}}
 *       - {name: int8, quantize: distilled, set: {max_drop: 0.2}}
 * A run may have a model file instead of a recipe, `model: teacher.safetensors`, which is only measured, or `quantize:`
 * with the name of an earlier run, whose model is made to compute on integers. Paths are relative to the study file's
 * folder. */
typedef struct vst_study_run {
    char *name;
    char *recipe_path, *model_path, *quantize; /* one of them; the others are NULL */
    char **settings;                           /* of the recipe, or of vst_quantize_table */
    int setting_count;
} vst_study_run;
typedef struct vst_study {
    char *title, *output;
    int seeds[32], seed_count;
    bool several; /* the file or the command line names several seeds, so folder names contain the seed even if only one
                     is run now */
    vst_study_run *runs;
    int run_count;
} vst_study;
VST_NODISCARD vst_status vst_study_read(vst_study **out, const char *path);
/* Sets keys of all recipes, overriding the file: "data.path=/data/cifar10". */
VST_NODISCARD vst_status vst_study_set(vst_study *study, const char *const *settings, int count);
void vst_study_destroy(vst_study *study);

#endif
