/* Functions behind `vistill data`: checking, previewing, packing data sets, and writing a training's batches. */
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

/* Writes the first `batches` batches of an epoch (or all, if there are fewer) as the recipe's training sees them:
 * batchN.images (B, C, H, W) in 0 … 1, augmented and mixed, before the model's normalisation; batchN.targets (B,
 * classes), smoothed and mixed; batchN.labels and .samples (B) before mixing, label -1 if unlabelled; batchN.lambda
 * (B), the fraction that an image keeps; batchN.box (B, 4), top, left, height and width of CutMix's box. *written is
 * the number of batches. */
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

/* Writes the data set as WebDataset shards folder/NAME-000000.tar … with index files, and folder/classes.txt with one
 * class name per line. Members are 000000000.jpg (or .png) with the original bytes, and 000000000.cls if labelled;
 * samples stored as pixels become PNG. Resized images (torchvision's Resize, bicubic, antialiased) are encoded again in
 * their format without EXIF, which does not change the orientation that training sees, because training ignores EXIF; a
 * damaged image is then an error. Equal data and options give equal bytes. The folder is created if necessary; it must
 * not contain shards with this name. Until all shards are written they are named NAME-000000.tar.part, and readers
 * refuse the folder. */
VST_NODISCARD vst_status vst_data_pack(const vst_dataset *dataset, const char *folder, const char *name,
                                       const vst_pack_options *options, vst_pack_result *result);

#endif
