/* Functions shared by the formats of image files: reading a file, hashing, extensions. Internal. */
#ifndef VISTILL_DATASETS_ENCODED_H
#define VISTILL_DATASETS_ENCODED_H

#include <sys/types.h>

#include "datasets/dataset.h"

/* Fills `bytes` with `size` bytes at `offset` of an open file. Messages do not name the file. */
VST_NODISCARD vst_status vsti_read_range(int file, uint64_t offset, uint64_t size, vst_bytes *bytes);
/* Reads the whole file `path`, relative to an open folder. */
VST_NODISCARD vst_status vsti_read_file(int folder, const char *path, vst_bytes *bytes);

/* The hash of a data set of image files, see vst_dataset_hash. `size_of` returns the size of a sample in bytes
 * (UINT64_MAX: unknown) and sets its label. */
typedef uint64_t vsti_size_of(const vst_dataset *dataset, uint64_t index, int *label);
void vsti_encoded_hash(const vst_dataset *dataset, vsti_size_of *size_of, uint64_t *hash);

/* True if a name has one of torchvision's image extensions, in upper or lower case. Not all of these formats can be
 * decoded. */
bool vsti_is_image_name(const char *name);
/* True for what other systems leave behind: "._x.jpg", everything in "__MACOSX", "Thumbs.db", ".DS_Store". */
bool vsti_is_stray_name(const char *path);

#endif
