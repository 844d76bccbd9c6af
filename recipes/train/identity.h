/* Everything that determines the result of a run: the recipe and the contents of data, teachers and start weights. A
 * checkpoint stores it, so that a run is only continued with the same contents, whatever their paths. Internal to this
 * folder.
 */
#ifndef VISTILL_RECIPES_TRAIN_IDENTITY_H
#define VISTILL_RECIPES_TRAIN_IDENTITY_H

#include <stdint.h>

#include "recipes/config/recipe.h"

enum { VSTI_HASH = 17 }; /* 16 hexadecimal digits */

typedef struct vsti_identity {
    char all[VSTI_HASH]; /* of the recipe's keys that affect the result, and of the others */
    char data[VSTI_HASH], teachers[VSTI_HASH], start[VSTI_HASH]; /* "" in checkpoints of version 0.1.0 */
} vsti_identity;

/* `data`: hash of the samples; `teachers` and `start`: of their values, 0 without. */
VST_NODISCARD vst_status vsti_identity_make(vsti_identity *out, const vst_recipe *recipe, uint64_t data,
                                            uint64_t teachers, uint64_t start);

/* Whether the run in `folder`, whose checkpoint has the identity `found`, can be continued as `now`. If not, the
 * message names the keys that differ from the folder's recipe.yaml with both values, or which of data, teachers and
 * start weights differ. A checkpoint of version 0.1.0 does not distinguish them: it is accepted with a warning if the
 * recipe is the same. `extend`: run.epochs may differ, which is logged. */
VST_NODISCARD vst_status vsti_identity_check(const vsti_identity *found, const vsti_identity *now,
                                             const vst_recipe *recipe, const char *folder, bool extend);

#endif
