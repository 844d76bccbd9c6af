/* Batches for training and evaluation: worker threads read, augment and mix samples ahead of time into a ring of
 * aligned buffers. Order and pixels are a pure function of (seed, epoch, sample), mixing of (seed, epoch, step): they
 * do not depend on the number of workers, and a run can resume at any position. A loader may be used by one consumer
 * thread.
 *
 * Memory: vst_loader_bytes for the ring. Each worker keeps in addition one image file, one decoded image and three
 * scratch images, and frees those larger than 32 MiB after each sample. */
#ifndef VISTILL_DATASETS_LOADER_LOADER_H
#define VISTILL_DATASETS_LOADER_LOADER_H

#include "datasets/dataset.h"
#include "datasets/loader/options.h"

typedef struct vst_loader vst_loader;

/* A batch in the ring, owned by the loader and valid until the next call on it. */
typedef struct vst_batch {
    int count;               /* number of samples, less than options.batch only in a partial last batch */
    const float *images;     /* (count, channels, size, size), 0 … 1, not normalised; 64-byte aligned */
    const int *labels;       /* class indices; -1 unlabelled */
    const uint64_t *samples; /* the samples' indices in the data set */
    const float
        *targets; /* (count, classes), with label smoothing and mixed as the images; NULL without options.targets */
    const vst_mix *mixes; /* the mixing of each image; `labels` are those before mixing */
} vst_batch;

/* `dataset` must outlive the loader. */
VST_NODISCARD vst_status vst_loader_create(vst_loader **out, const vst_dataset *dataset,
                                           const vst_loader_options *options);
void vst_loader_destroy(vst_loader *loader);

uint64_t vst_loader_steps(const vst_loader *loader); /* batches in an epoch */
/* Moves to batch `step` of `epoch` and discards batches that were read ahead. May be called at any time. A new loader
 * starts at (0, 0). */
VST_NODISCARD vst_status vst_loader_start(vst_loader *loader, uint32_t epoch, uint64_t step);
/* Returns the next batch; batch->count is 0 at the end of the epoch. If a sample of the batch cannot be read, returns
 * an error that names it; the next call continues with the following batch. */
VST_NODISCARD vst_status vst_loader_next(vst_loader *loader, vst_batch *batch);
/* Number of different broken samples in the batches returned so far. */
uint64_t vst_loader_broken(const vst_loader *loader);
/* Bytes of the ring of batches; constant. */
size_t vst_loader_bytes(const vst_loader *loader);
/* A hash of all options that determine the pixels of a sample for a given epoch (of its view) and copy: augmentation,
 * seed, size, channels, repeats, evaluation; with mixing also the options that determine which samples share a batch.
 * It does not cover the data. A teacher cache uses it to match cached logits to the views. */
uint64_t vst_view_id(const vst_loader_options *options);
/* Seconds the consumer has waited for batches since vst_loader_create. */
double vst_loader_waited(const vst_loader *loader);

#endif
