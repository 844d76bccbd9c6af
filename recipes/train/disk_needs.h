/* What a training writes. */
#ifndef VISTILL_RECIPES_TRAIN_DISK_NEEDS_H
#define VISTILL_RECIPES_TRAIN_DISK_NEEDS_H

#include "recipes/config/recipe.h"

/* Bytes that the disk of the run's folder must still have room for: the most that its files take together, while a
 * model file is replaced, less what they take already. Projectors, which are small, are not counted. The folder need
 * not exist.
 */
VST_NODISCARD vst_status vsti_train_disk_needs(const vst_recipe *recipe, const char *folder, uint64_t *bytes);

#endif
