/* What the formats of image files have in common: reading the bytes of a sample, extensions. Internal. */
#ifndef VISTILL_DATASETS_ENCODED_H
#define VISTILL_DATASETS_ENCODED_H

#include <sys/types.h>

#include "datasets/dataset.h"

/* Fills `bytes` with `size` bytes at `offset` of an open file. Messages do not name the file. */
VST_NODISCARD vst_status vsti_read_range(int file, uint64_t offset, uint64_t size, vst_bytes *bytes);
/* All of the file `path` in an open folder. */
VST_NODISCARD vst_status vsti_read_file(int folder, const char *path, vst_bytes *bytes);

/* The hash of a data set of image files, as dataset.h says; `size_of` gives a sample's bytes (UINT64_MAX: unknown) and
 * label. */
typedef uint64_t vsti_size_of(const vst_dataset *dataset, uint64_t index, int *label);
void vsti_encoded_hash(const vst_dataset *dataset, vsti_size_of *size_of, uint64_t *hash);

/* Whether a name ends like an image file, by torchvision's list (not all of which can be decoded), in any case. */
bool vsti_is_image_name(const char *name);

#endif
