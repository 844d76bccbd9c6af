/* The classes of ImageNet-1k. Internal to recipes. */
#ifndef VISTILL_RECIPES_MODEL_IMAGENET_H
#define VISTILL_RECIPES_MODEL_IMAGENET_H

enum { VSTI_IMAGENET_CLASSES = 1000 };
typedef struct vsti_imagenet_class {
    const char *number, *name; /* "n01440764", "tench" */
} vsti_imagenet_class;
extern const vsti_imagenet_class vsti_imagenet[VSTI_IMAGENET_CLASSES]; /* the numbers rise, so it can be searched */

/* The name of class `index` of a model whose file gives none: with 1000 classes ImageNet's, otherwise the number,
 * written to `number`. */
const char *vsti_default_class_name(int index, int classes, char number[16]);

#endif
