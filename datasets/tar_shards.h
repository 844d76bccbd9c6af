/* Finds the tar files that a path refers to. Internal. */
#ifndef VISTILL_DATASETS_TAR_SHARDS_H
#define VISTILL_DATASETS_TAR_SHARDS_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"

enum { VSTI_SHARDS_MAX = 1 << 20 };

/* Appended to the name of a shard until all shards of its set are written. */
#define VSTI_SHARD_UNFINISHED ".part"

typedef struct vsti_shards {
    char **paths; /* in order; owned */
    size_t count, capacity;
    bool whole; /* no file or folder name contains a split */
} vsti_shards;

/* The shards of a split: `path` is a tar, a pattern with numbers "name-{000000..000146}.tar", or a folder with tars. In
 * a folder, the split is given by sub-folders (train, test, val …) or by a word in the file names
 * ("imagenet-val-03.tar"). The shards are sorted. `split` NULL: all splits. `out` must be {0}. Finding no shard is an
 * error, and so is a folder with a shard of an unfinished set. */
VST_NODISCARD vst_status vsti_shards_find(vsti_shards *shards, const char *path, const char *split);
void vsti_shards_clear(vsti_shards *shards);

/* True if vsti_shards_find would find shards of any split. */
bool vsti_shards_probe(const char *path);

#endif
