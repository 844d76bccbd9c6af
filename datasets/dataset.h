/* Data sets of labelled images, with one interface for all formats. Each format is one file of this folder. */
#ifndef VISTILL_DATASETS_DATASET_H
#define VISTILL_DATASETS_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "vision/image/image.h"

VST_BEGIN_DECLS

typedef struct vst_dataset vst_dataset;

/* Maximum size in bytes of a file that a format loads into memory; a larger file is refused. */
#define VST_DATASET_MEMORY (UINT64_C(1) << 30)

typedef struct vst_dataset_options {
    const char *format; /* name of a format; NULL: detected from the files */
    int channels; /* convert every image to 1 (grey) or 3 (RGB) channels; 0: those that the format stores, always RGB
                     for image files */
    const vst_image_limits *limits; /* for image files; NULL: the defaults */
    bool natural_order; /* classes in natural order of their names, 2 before 10, as timm; false: by bytes, as
                           torchvision */
} vst_dataset_options;

/* Opens the split "train" or "test" of the data set at `path` (a folder, a file or a file pattern, depending on the
 * format). `options` may be NULL (the defaults). The caller closes *out with vst_dataset_close. */
VST_NODISCARD vst_status vst_dataset_open(vst_dataset **out, const char *path, const char *split,
                                          const vst_dataset_options *options);
void vst_dataset_close(vst_dataset *dataset); /* NULL allowed */

uint64_t vst_dataset_count(const vst_dataset *dataset);                    /* samples, at least 1 */
int vst_dataset_classes(const vst_dataset *dataset);                       /* 0: unlabelled, every label is -1 */
const char *vst_dataset_class_name(const vst_dataset *dataset, int index); /* NULL if out of range */
int vst_dataset_channels(const vst_dataset *dataset);     /* of images from vst_dataset_read: 1 grey, 3 RGB */
const char *vst_dataset_path(const vst_dataset *dataset); /* the file or folder, for messages */
/* True if the data set has no splits; "train" and "test" are then both the whole data set. */
bool vst_dataset_has_no_splits(const vst_dataset *dataset);

/* The name of sample `index` in messages and packed files: the path of its file within the data set ("cat/7.jpg",
 * "000017.jpg"), or "sample 17" without files. Writes it to `buffer`, truncated to `size` bytes (PATH_MAX is always
 * enough), and returns `buffer`. index < count. */
char *vst_dataset_sample_name(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size);

/* Reads and decodes sample `index`: `image` is {0} or an image to overwrite; *label is the class, or -1 for an
 * unlabelled sample. The image has the stored size and vst_dataset_channels channels. Any number of threads may read at
 * the same time, each into its own image. Error messages name the sample. */
VST_NODISCARD vst_status vst_dataset_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label);

/* ---- Encoded image files, for callers that decode a part of an image or copy the file ---- */

/* A growing buffer that is reused from sample to sample. Initialise it with {0}. */
typedef struct vst_bytes {
    uint8_t *data; /* owned */
    size_t size, capacity;
} vst_bytes;
void vst_bytes_clear(vst_bytes *bytes); /* frees the data and zeroes the structure */
/* Sets the size; the contents are unspecified. On failure the buffer is unchanged. */
VST_NODISCARD vst_status vst_bytes_resize(vst_bytes *bytes, size_t size);

/* True if the samples are image files (JPEG, PNG) that vst_dataset_read_bytes can read; false if they are stored as
 * pixels, for vst_dataset_read only. */
bool vst_dataset_encoded(const vst_dataset *dataset);

/* Reads the image file of sample `index` without checking its contents. To decode it as vst_dataset_read does, use
 * vst_image_decode with channels = vst_dataset_channels and limits = vst_dataset_limits. Any number of threads may read
 * at the same time, each into its own buffer. VST_ERROR_UNSUPPORTED if the samples are not encoded. */
VST_NODISCARD vst_status vst_dataset_read_bytes(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes,
                                                int *label);
const vst_image_limits *vst_dataset_limits(const vst_dataset *dataset); /* as given on opening; may be NULL */

/* True if a read failed because of the sample itself (missing, not an image, damaged, too large), not because of memory
 * or an invalid argument: an error that a policy for broken samples may skip. */
bool vst_dataset_is_broken(vst_status status);

/* Reads sample *index or, with a warning for each that cannot be read, the first of the following ones that can be (at
 * most VST_DATASET_RETRIES of them); *index becomes its number. For pictures that are shown; a loader counts and limits
 * broken samples. */
enum { VST_DATASET_RETRIES = 20 };
VST_NODISCARD vst_status vst_dataset_read_next(const vst_dataset *dataset, uint64_t *index, vst_image *image,
                                               int *label);

/* ---- Hash and views ---- */

/* A 64-bit hash (xxh3): equal for equal samples in equal order, independent of their path. For data in memory (IDX,
 * CIFAR) it covers all pixels and labels. For image files, in folders and tars alike, it covers names within the data
 * set (of members of a tar, too), sizes in bytes, labels and class names: fast for 150 GB, but other pixels in a file
 * that keeps its name and size are not noticed. A view has its own hash. */
VST_NODISCARD vst_status vst_dataset_hash(const vst_dataset *dataset, uint64_t *hash);

/* Views do not own the data set, which must outlive them; close each with vst_dataset_close. split: `validation_count`
 * samples drawn by `seed` become *validation, all others *train. */
VST_NODISCARD vst_status vst_dataset_split(const vst_dataset *dataset, uint64_t validation_count, uint64_t seed,
                                           vst_dataset **train, vst_dataset **validation);
/* hold_out: the `count` samples, or with `rest` all others, of another draw by `seed`. *view owns `dataset` and closes
 * it; if the call fails, it is closed too. */
VST_NODISCARD vst_status vst_dataset_hold_out(vst_dataset *dataset, uint64_t count, uint64_t seed, bool rest,
                                              vst_dataset **view);
/* sample: `count` samples drawn by `seed`; a smaller count selects the first samples of a larger one. */
VST_NODISCARD vst_status vst_dataset_sample(const vst_dataset *dataset, uint64_t count, uint64_t seed,
                                            vst_dataset **view);

/* relabel: the same samples with other class numbers: labels[i], in [0, classes), is that of class i. The view has the
 * `names`, which must outlive it. */
VST_NODISCARD vst_status vst_dataset_relabel(const vst_dataset *dataset, const int *labels, const char *const *names,
                                             int classes, vst_dataset **view);

/* ---- For formats ---- */

typedef struct vst_dataset_methods {
    /* index < count in all of them. A format has either `read` (pixels with any number of channels) or `read_bytes`
     * (image files, which dataset.c decodes). */
    vst_status (*read)(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label);
    vst_status (*read_bytes)(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label);
    void (*name)(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size); /* NULL: "sample INDEX" */
    vst_status (*hash)(const vst_dataset *dataset, uint64_t *hash);
    void (*close)(vst_dataset *dataset); /* frees everything, the structure included */
} vst_dataset_methods;

/* The first member of a format's own structure. */
struct vst_dataset {
    const vst_dataset_methods *methods;
    const char *path; /* for vst_dataset_path; owned by the format */
    uint64_t count;
    int channels; /* 1 or 3, set by the format; vst_dataset_open replaces it by its option */
    int classes;
    const char *const *class_names; /* `classes` names; owned by the format */
    bool whole;                     /* for vst_dataset_has_no_splits */
    const vst_image_limits *limits; /* set by vst_dataset_open: NULL or those below */
    vst_image_limits own_limits;
};

typedef struct vst_dataset_format {
    const char *name, *help; /* help: one line that lists the files it reads */
    /* True if `path`, which may not exist, looks like this format; checks names only. The first matching format in
     * alphabetical order is used. */
    bool (*probe)(const char *path);
    vst_status (*open)(vst_dataset **out, const char *path, const char *split);
} vst_dataset_format;

VST_END_DECLS
#endif
