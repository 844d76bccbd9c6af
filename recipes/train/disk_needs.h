/* Disk space of a training run. */
#ifndef VISTILL_RECIPES_TRAIN_DISK_NEEDS_H
#define VISTILL_RECIPES_TRAIN_DISK_NEEDS_H

#include "recipes/config/recipe.h"

/* Free bytes that the disk of the run folder must have: the largest total size of its files, reached while a model file
 * is replaced, less their present size. Projectors are small and not counted. The folder need not exist.
 */
VST_NODISCARD vst_status vsti_train_disk_needs(const vst_recipe *recipe, const char *folder, uint64_t *bytes);

#endif
