/* Which tar files a path stands for. Internal. */
#ifndef VISTILL_DATASETS_TAR_SHARDS_H
#define VISTILL_DATASETS_TAR_SHARDS_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"

enum { VSTI_SHARDS_MAX = 1 << 20 };

typedef struct vsti_shards {
    char **paths; /* in order; owned */
    size_t count, capacity;
    bool whole; /* no file or folder name says which split they are */
} vsti_shards;

/* The shards of a split: `path` is a tar, a pattern with numbers "name-{000000..000146}.tar", or a folder with tars, in
 * folders train, test, val … or with such a word in their names ("imagenet-val-03.tar"), sorted. split NULL: of all
 * splits. Starts as {0}; no shard at all is an error. */
VST_NODISCARD vst_status vsti_shards_find(vsti_shards *shards, const char *path, const char *split);
void vsti_shards_clear(vsti_shards *shards);

/* Whether vsti_shards_find would find some, in any split. */
bool vsti_shards_probe(const char *path);

#endif
