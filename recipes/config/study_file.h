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
 * A run may have a model file instead of a recipe, `model: teacher.safetensors`, which is only measured. Both paths are
 * relative to the study file's folder. */
typedef struct vst_study_run {
    char *name;
    char *recipe_path, *model_path; /* one of them; the other is NULL */
    char **settings;
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
