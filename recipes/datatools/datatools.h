/* What `vistill data` does with a data set: checking it, showing it, packing it into tar shards,
 * writing a training's batches. */
#ifndef VISTILL_RECIPES_DATATOOLS_DATATOOLS_H
#define VISTILL_RECIPES_DATATOOLS_DATATOOLS_H

#include <signal.h>

#include "datasets/dataset.h"
#include "recipes/config/recipe.h"

/* ---- check ---- */

typedef struct vst_data_bad {
    uint64_t sample;
    int label;
    char *reason; /* names the data set and the sample */
} vst_data_bad;

typedef struct vst_data_report {
    uint64_t samples;
    int classes;
    uint64_t *good, *broken; /* (classes + 1): number of samples by class, unlabelled ones last */
    vst_data_bad *bad;       /* in the order of the samples */
    size_t bad_count, bad_capacity;
    int least_height, least_width, most_height, most_width; /* of the readable images; 0 if there are none */
} vst_data_report;

/* Reads and decodes every sample in `workers` threads (at least 1). Lists broken samples; any other error is returned.
 * `report` must be {0}. `stop` may be NULL; if it becomes non-zero, returns VST_ERROR_INTERRUPTED. */
VST_NODISCARD vst_status vst_data_check(const vst_dataset *dataset, int workers, const volatile sig_atomic_t *stop,
                                        vst_data_report *report);
void vst_data_report_clear(vst_data_report *report);

/* ---- preview ---- */

/* A grid of `count` samples drawn by `seed`, augmented by `augment` (text as in recipes) as in epoch 0, with the class
 * name under each. Large images are shrunk, small ones enlarged. `sheet` must be {0}. */
VST_NODISCARD vst_status vst_data_preview(const vst_dataset *dataset, const char *augment, uint64_t seed, int count,
                                          vst_image *sheet);

/* ---- dump ---- */

/* Writes the first `batches` of an epoch, or as many as it has, as the recipe's training gets them: tensors
 * batchN.images (B, C, H, W) in 0 … 1, augmented and mixed, before the model's normalisation; batchN.targets (B,
 * classes), smoothed and mixed; batchN.labels and .samples (B) before mixing, labels -1 without; batchN.lambda (B),
 * what an image keeps of itself, and .box (B, 4), top, left, height and width of what CutMix put there. *written
 * receives the number. */
VST_NODISCARD vst_status vst_data_dump(const vst_recipe *recipe, int epoch, int batches, const char *path,
                                       int *written);

/* ---- pack ---- */

typedef struct vst_pack_options {
    uint64_t shard_bytes; /* maximum size of a shard, unless a single sample is larger */
    bool shuffle;         /* in an order drawn by `seed`; otherwise in the order of the data set */
    uint64_t seed;
    int resize;                        /* images whose shorter side is longer are resized to it; 0: none */
    int quality;                       /* of JPEG files that are encoded again, 1 … 100 */
    const volatile sig_atomic_t *stop; /* may be NULL */
} vst_pack_options;

typedef struct vst_pack_result {
    uint64_t samples, resized, shards, bytes;
} vst_pack_result;

/* Writes the data set as WebDataset shards folder/NAME-000000.tar, … with their index files: members 000000000.jpg (or
 * .png) with the file's own bytes, and 000000000.cls if it is labelled; samples stored as pixels become PNG. What is
 * resized (bicubic, antialiased, by torchvision's Resize) is encoded anew in its own format, without EXIF: a training
 * sees the same orientation, because it ignores EXIF, too; a damaged picture is then an error. The same data and
 * options give the same bytes. The folder is made if it is not there; shards of that name in it are an error.
 * folder/classes.txt has the classes' names, one a line. The shards get
 * their names when all are there: until then they are called NAME-000000.tar.part, and a reader refuses the folder. */
VST_NODISCARD vst_status vst_data_pack(const vst_dataset *dataset, const char *folder, const char *name,
                                       const vst_pack_options *options, vst_pack_result *result);

#endif
