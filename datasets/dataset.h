/* Data sets: labelled images behind one interface, whatever their format. A format is one file of this folder. */
#ifndef VISTILL_DATASETS_DATASET_H
#define VISTILL_DATASETS_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "vision/image/image.h"

VST_BEGIN_DECLS

typedef struct vst_dataset vst_dataset;

/* What a format may load into memory, in bytes; a larger file is refused. */
#define VST_DATASET_MEMORY (UINT64_C(1) << 30)

typedef struct vst_dataset_options {
    const char *format; /* a format's name; NULL: found out from the files */
    int channels;       /* 1 grey or 3 RGB: what every image is converted to; 0: what the format stores, RGB for
                           image files, whichever each of them is */
    const vst_image_limits *limits; /* for image files; NULL: the defaults. Must outlive the data set */
} vst_dataset_options;

/* Opens the split "train" or "test" of the data set at `path` (a folder, a file or a pattern of files, as the format
 * says). options NULL: the defaults. Close with vst_dataset_close. */
VST_NODISCARD vst_status vst_dataset_open(vst_dataset **out, const char *path, const char *split,
                                          const vst_dataset_options *options);
void vst_dataset_close(vst_dataset *dataset); /* NULL allowed */

uint64_t vst_dataset_count(const vst_dataset *dataset); /* samples, at least 1 */
int vst_dataset_classes(const vst_dataset *dataset);    /* 0: it has no labels, every sample's is -1 */
const char *vst_dataset_class_name(const vst_dataset *dataset, int index); /* NULL if there is no such class */
int vst_dataset_channels(const vst_dataset *dataset);     /* of the images that vst_dataset_read gives: 1 grey, 3 RGB */
const char *vst_dataset_path(const vst_dataset *dataset); /* the file or folder it was read from, for messages */
/* True if there are no splits at `path`, so that "train" and "test" are both all of it. */
bool vst_dataset_has_no_splits(const vst_dataset *dataset);

/* What messages call sample `index`, and what packing names it by: the path of its file within the data set
 * ("cat/7.jpg", "000017.jpg"), "sample 17" where there are no files. Written to `buffer`, cut to `size` bytes (PATH_MAX
 * is always enough); returns `buffer`. index < count. */
char *vst_dataset_sample_name(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size);

/* Reads and decodes sample `index`: `image` is {0} or an image to be overwritten, *label the class or -1 for an
 * unlabelled sample. Its size is that of the file, its channels are vst_dataset_channels. Any number of threads may
 * read at the same time, each into its own image. An error names the sample. */
VST_NODISCARD vst_status vst_dataset_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label);

/* ---- Image files as they are, for those who decode a part of a picture or copy it ---- */

/* Bytes that grow and are reused from sample to sample. Starts as {0}. */
typedef struct vst_bytes {
    uint8_t *data; /* owned */
    size_t size, capacity;
} vst_bytes;
void vst_bytes_clear(vst_bytes *bytes); /* frees them and zeroes the structure */
/* size = `size`; what is in it is unspecified. On failure it is as it was. */
VST_NODISCARD vst_status vst_bytes_resize(vst_bytes *bytes, size_t size);

/* Whether the samples are image files (JPEG, PNG), so that vst_dataset_read_bytes can be asked; otherwise they are
 * stored as pixels and only vst_dataset_read gives them. */
bool vst_dataset_encoded(const vst_dataset *dataset);

/* The bytes of sample `index`'s image file, not looked at: perhaps no image at all. Decode them with vst_image_decode,
 * channels = vst_dataset_channels, limits = vst_dataset_limits: vst_dataset_read does exactly that. Threads as
 * for vst_dataset_read, each with its own bytes. Without encoded samples: VST_ERROR_UNSUPPORTED. */
VST_NODISCARD vst_status vst_dataset_read_bytes(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes,
                                                int *label);
const vst_image_limits *vst_dataset_limits(const vst_dataset *dataset); /* as given on opening, perhaps NULL */

/* Whether a failed read is the sample's own fault (missing, not an image, damaged, too large), not that of memory or
 * caller: what a policy for broken samples may pass over. */
bool vst_dataset_is_broken(vst_status status);

/* ---- All of it ---- */

/* A 64-bit hash (xxh3): equal for equal samples in equal order, wherever they lie. Of data that is held in memory (IDX,
 * CIFAR) it is over all pixels and labels. Of image files it is over names within the data set, sizes in bytes, labels
 * and class names: cheap for 150 GB, but blind to a file whose content changes and whose size does not. Views have
 * their own. */
VST_NODISCARD vst_status vst_dataset_hash(const vst_dataset *dataset, uint64_t *hash);

/* Views: they do not own the data set, which must outlive them; each is closed on its own.
 * split: `validation_count` samples drawn by `seed` become *validation, all others *train. */
VST_NODISCARD vst_status vst_dataset_split(const vst_dataset *dataset, uint64_t validation_count, uint64_t seed,
                                           vst_dataset **train, vst_dataset **validation);
/* sample: `count` samples drawn by `seed`; those of a smaller count are the beginning of those of a larger one. */
VST_NODISCARD vst_status vst_dataset_sample(const vst_dataset *dataset, uint64_t count, uint64_t seed,
                                            vst_dataset **view);

/* ---- For formats ---- */

typedef struct vst_dataset_methods {
    /* index < count in all of them. A format offers either `read` (pixels, of any number of channels) or `read_bytes`
     * (image files; decoding is then done for it). */
    vst_status (*read)(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label);
    vst_status (*read_bytes)(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label);
    void (*name)(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size); /* NULL: "sample INDEX" */
    vst_status (*hash)(const vst_dataset *dataset, uint64_t *hash);
    void (*close)(vst_dataset *dataset); /* frees everything, the structure included */
} vst_dataset_methods;

/* The beginning of a format's own structure. */
struct vst_dataset {
    const vst_dataset_methods *methods;
    const char *path; /* what vst_dataset_path says; the format's */
    uint64_t count;
    int channels; /* 1 or 3, of what `read` gives; the format's choice, which vst_dataset_open overrides by its options
                   */
    int classes;
    const char *const *class_names; /* `classes` of them; the format's */
    bool whole;                     /* what vst_dataset_has_no_splits says */
    const vst_image_limits *limits; /* set by vst_dataset_open */
};

typedef struct vst_dataset_format {
    const char *name, *help; /* help: one line, says which files it looks for */
    /* Whether `path`, which may not exist, looks like this format; by names, cheap. The first format in the order of
     * names that says yes is taken. */
    bool (*probe)(const char *path);
    vst_status (*open)(vst_dataset **out, const char *path, const char *split);
} vst_dataset_format;

VST_END_DECLS
#endif
