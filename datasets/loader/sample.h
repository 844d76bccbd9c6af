/* Loads one sample from the data set and converts it to floats. For the loader and its benchmark. */
#ifndef VISTILL_DATASETS_LOADER_SAMPLE_H
#define VISTILL_DATASETS_LOADER_SAMPLE_H

#include "datasets/dataset.h"
#include "datasets/loader/options.h"

/* Buffers of a worker, reused from sample to sample. Initialise it with {0}. */
typedef struct vsti_sample_memory {
    vst_bytes bytes; /* of the image file */
    vst_image image;
    vst_augment_scratch scratch;
} vsti_sample_memory;
void vsti_sample_memory_clear(vsti_sample_memory *memory);

/* Reads, decodes and augments (or applies the evaluation transform to) sample view.sample and converts it to pixels
 * (channels, size, size). Error messages name the sample. */
VST_NODISCARD vst_status vsti_sample_load(const vst_dataset *dataset, const vst_loader_options *options,
                                          vst_augment_view view, vsti_sample_memory *memory, float *pixels, int *label);
/* The same for a decoded image, which is not changed. */
VST_NODISCARD vst_status vsti_sample_transform(const vst_image *picture, const vst_loader_options *options,
                                               vst_augment_view view, vsti_sample_memory *memory, float *pixels);

#endif
