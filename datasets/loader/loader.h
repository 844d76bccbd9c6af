/* Batches for training and evaluation: worker threads read, augment and mix samples ahead of time into a ring of
 * aligned buffers. Order and pixels are a pure function of (seed, epoch, sample) and mixing of (seed, epoch, step):
 * they do not depend on the number of workers, and any position can be returned to. One consumer thread.
 *
 * Memory: vst_loader_bytes for the ring. Each worker keeps besides one image file, one decoded picture and three of a
 * policy's, and gives back what is larger than 32 MiB after each sample. */
#ifndef VISTILL_DATASETS_LOADER_LOADER_H
#define VISTILL_DATASETS_LOADER_LOADER_H

#include "datasets/dataset.h"
#include "datasets/loader/options.h"

typedef struct vst_loader vst_loader;

/* A batch in the ring; valid until the next call on its loader. */
typedef struct vst_batch {
    int count;               /* samples in it, less than options.batch only in a partial last batch */
    const float *images;     /* (count, channels, size, size), 0 … 1, not normalised; 64-byte aligned */
    const int *labels;       /* class indices; -1 unlabelled */
    const uint64_t *samples; /* the samples' indices in the data set */
    const float *targets;    /* (count, classes), smoothed and mixed as the images; NULL without options.targets */
    vst_mix mix;             /* what was done to the batch; labels are those of the images' own samples */
} vst_batch;

/* `dataset` must outlive the loader. */
VST_NODISCARD vst_status vst_loader_create(vst_loader **out, const vst_dataset *dataset,
                                           const vst_loader_options *options);
void vst_loader_destroy(vst_loader *loader);

uint64_t vst_loader_steps(const vst_loader *loader); /* batches in an epoch */
/* Goes to batch `step` of `epoch`, at any time; what was read ahead is dropped. Without a call the loader begins at (0,
 * 0). */
VST_NODISCARD vst_status vst_loader_start(vst_loader *loader, uint32_t epoch, uint64_t step);
/* The next batch; batch->count is 0 at the end of the epoch. A sample that cannot be read is an error naming it, in the
 * place of its batch; the following call goes on after it. */
VST_NODISCARD vst_status vst_loader_next(vst_loader *loader, vst_batch *batch);
/* Broken samples met so far, each counted once, in the batches that were handed out. */
uint64_t vst_loader_broken(const vst_loader *loader);
/* Bytes of the ring of batches, fixed at vst_loader_create. */
size_t vst_loader_bytes(const vst_loader *loader);
/* A hash of all that decides what is seen of a sample, given its epoch (that of its view) and copy, but for the data
 * itself: augmentation, seed, size, channels, repeats, evaluation; with mixing also of what decides which samples meet
 * in a batch. For matching what was computed from views, such as a teacher's answers, to the views. */
uint64_t vst_view_id(const vst_loader_options *options);
/* Seconds the consumer has waited for batches since vst_loader_create. */
double vst_loader_waited(const vst_loader *loader);

#endif
