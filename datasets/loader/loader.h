/* Batches for training and evaluation: worker threads read and augment samples ahead of time into a ring of aligned buffers.
 * Order and pixels are a pure function of (seed, epoch, sample): they do not depend on the number of workers, and any
 * position can be returned to. One consumer thread. */
#ifndef VISTILL_DATASETS_LOADER_LOADER_H
#define VISTILL_DATASETS_LOADER_LOADER_H

#include "datasets/augment/augment.h"
#include "datasets/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vst_loader vst_loader;

typedef struct vst_loader_options {
    int batch;      /* samples in a batch */
    int workers;    /* threads; 0: read in the consumer's thread */
    int prefetch;   /* batches ready ahead; 0: 4 */
    bool shuffle;   /* a new permutation each epoch */
    bool drop_last; /* leave out a partial last batch */
    uint64_t seed;
    int channels, size;            /* of the images handed out; a sample that ends with another size is an error */
    const vst_augment *augment;    /* NULL: none. Must outlive the loader */
} vst_loader_options;

/* A batch in the ring; valid until the next call on its loader. */
typedef struct vst_batch {
    int count;               /* samples in it, less than options.batch only in a partial last batch */
    const float *images;     /* (count, channels, size, size), 0 … 1, not normalised; 64-byte aligned */
    const int *labels;       /* class indices; -1 unlabelled */
    const uint64_t *samples; /* the samples' indices in the data set */
} vst_batch;

/* `dataset` must outlive the loader. */
VST_NODISCARD vst_status vst_loader_create(vst_loader **out, const vst_dataset *dataset, const vst_loader_options *options);
void vst_loader_destroy(vst_loader *loader);

uint64_t vst_loader_steps(const vst_loader *loader); /* batches in an epoch */
/* Goes to batch `step` of `epoch`, at any time; what was read ahead is dropped. Without a call the loader begins at (0, 0). */
VST_NODISCARD vst_status vst_loader_start(vst_loader *loader, uint32_t epoch, uint64_t step);
/* The next batch; batch->count is 0 at the end of the epoch. A sample that cannot be read is an error naming it, in the
 * place of its batch; the following call goes on after it. */
VST_NODISCARD vst_status vst_loader_next(vst_loader *loader, vst_batch *batch);
/* Seconds the consumer has waited for batches since vst_loader_create. */
double vst_loader_waited(const vst_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
