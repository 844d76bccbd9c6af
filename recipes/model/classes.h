/* Classes are matched by their names, in one place for evaluation, teachers, start weights and reports. */
#ifndef VISTILL_RECIPES_MODEL_CLASSES_H
#define VISTILL_RECIPES_MODEL_CLASSES_H

#include <stdbool.h>

#include "datasets/dataset.h"
#include "recipes/model/model.h"

typedef struct vst_classes {
    const char *const *names;
    int count;
    const char *what; /* whose they are, for messages: "the model", a path */
} vst_classes;
vst_classes vst_model_classes(const vst_model *model, const char *what);
vst_classes vst_dataset_class_list(const vst_dataset *dataset); /* names that live as long as the data set */

/* Names "0", "1", "2" … in that order say no more than the place does. */
bool vst_classes_unnamed(const vst_classes *classes);

typedef struct vst_class_match {
    int *map;         /* of each class of `from` its index in `to`; owned */
    int from, to;     /* how many classes each has */
    bool by_position; /* one side has no names */
    bool same;        /* equally many classes, each at the same index */
} vst_class_match;

/* Finds each class of `from` among those of `to`: by name; a class of ImageNet-1k is known by its WordNet number
 * ("n01440764") and by its name ("tench", in any case, '_' for blanks, further names after a comma); if one side is
 * unnamed, by position. `to` may have more classes. A name that is not there is VST_ERROR_ARGUMENT, and the message
 * lists the first of them. */
VST_NODISCARD vst_status vst_classes_match(vst_class_match *match, const vst_classes *from, const vst_classes *to);
void vst_class_match_clear(vst_class_match *match);
/* Logs what is not a matter of course: matched by position, in another order, a part of the classes. */
void vst_class_match_log(const vst_class_match *match, const vst_classes *from, const vst_classes *to);

/* *view: the data set with the classes of `to`, or NULL if they are the same as its own. A data set without labels is
 * an error. The names of `to` must outlive the view; `match` may be NULL. */
VST_NODISCARD vst_status vst_classes_view(vst_dataset **view, const vst_dataset *dataset, const vst_classes *to,
                                          vst_class_match *match);

#endif
