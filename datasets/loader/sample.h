/* One sample, from the data set to floats. For the loader and the benchmark of it. */
#ifndef VISTILL_DATASETS_LOADER_SAMPLE_H
#define VISTILL_DATASETS_LOADER_SAMPLE_H

#include "datasets/dataset.h"
#include "datasets/loader/options.h"

/* What a worker keeps from sample to sample. Starts as {0}. */
typedef struct vsti_sample_memory {
    vst_bytes bytes; /* of the image file */
    vst_image image;
    vst_augment_scratch scratch;
} vsti_sample_memory;
void vsti_sample_memory_clear(vsti_sample_memory *memory);

/* Reads, decodes, augments or brings to the evaluation's view, and converts sample view.sample into
 * pixels (channels, size, size). An error names the sample. */
VST_NODISCARD vst_status vsti_sample_load(const vst_dataset *dataset, const vst_loader_options *options,
                                          vst_augment_view view, vsti_sample_memory *memory, float *pixels, int *label);
/* The same from a decoded picture, which stays as it is. */
VST_NODISCARD vst_status vsti_sample_transform(const vst_image *picture, const vst_loader_options *options,
                                               vst_augment_view view, vsti_sample_memory *memory, float *pixels);

#endif
