/* The loader. Workers claim whole batches in order and fill slot (step mod ring); the consumer takes them in order. One
 * mutex guards all positions; pixels are written outside it, by the only worker that has claimed the step. */
#include "datasets/loader/loader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "vision/base/memory.h"
#include "vision/base/random.h"

enum { DEFAULT_PREFETCH = 4, BATCH_MAX = 1 << 20, WORKERS_MAX = 1024, PREFETCH_MAX = 1024, SIZE_LIMIT = 16384 };

typedef struct slot {
    float *images;
    int *labels;
    uint64_t *samples;
    int count;
    bool ready;
    vst_status status; /* of the batch; its text is in `error` */
    char error[1024];
} slot;

typedef struct worker {
    vst_loader *loader;
    pthread_t thread;
    vst_image image; /* its memory is reused from sample to sample */
} worker;

struct vst_loader {
    vst_loader_options options;
    const vst_dataset *dataset;
    uint64_t steps;
    size_t image_floats; /* in one image */
    slot *slots;
    int ring;
    worker *workers;
    int running; /* threads that were started */

    pthread_mutex_t mutex;
    pthread_cond_t work, done; /* a step may be claimed; a batch is ready or a worker idle */
    /* Guarded by mutex. */
    uint32_t epoch;
    uint64_t claimed;  /* the next step to fill; `steps` stops the workers */
    uint64_t position; /* the consumer's batch: handed out if `holding`, else the next */
    int busy;          /* workers in the middle of a batch */
    bool quit;
    atomic_bool cancel; /* what is being filled is not wanted any more */
    /* Only the consumer's. */
    bool started, holding;
    double waited;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* (H, W, C) bytes to (C, H, W) floats in 0 … 1, divided as torchvision's ToTensor does. */
static void convert(float *restrict out, const vst_image *image) {
    const size_t count = (size_t)image->height * (size_t)image->width, channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++) {
        const uint8_t *restrict in = image->pixels + c;
        float *restrict plane = out + c * count;
        if (channels == 1)
            for (size_t i = 0; i < count; i++) plane[i] = (float)in[i] / 255.0f;
        else
            for (size_t i = 0; i < count; i++) plane[i] = (float)in[3 * i] / 255.0f;
    }
}

static vst_status load_sample(const vst_loader *self, uint32_t epoch, uint64_t sample, vst_image *image, float *pixels,
                              int *label) {
    const vst_loader_options *options = &self->options;
    vst_status status = VST_OK;
    VST_TRY(vst_dataset_read(self->dataset, sample, image, label));
    VST_TRY(vst_augment_apply(options->augment, options->seed, epoch, sample, image));
    if (image->channels != options->channels || image->height != options->size || image->width != options->size)
        return vst_fail(VST_ERROR_SHAPE,
                        "%s: sample %llu is (%d, %d, %d) (channels, height, width), asked for is (%d, %d, %d): "
                        "set the model's image size and channels, or crop or resize the image",
                        vst_dataset_path(self->dataset), (unsigned long long)sample, image->channels, image->height,
                        image->width, options->channels, options->size, options->size);
    convert(pixels, image);
    return VST_OK;
out:
    return vst_fail_in(status, "%s: sample %llu", vst_dataset_path(self->dataset), (unsigned long long)sample);
}

/* Fills a slot with batch `step`. Errors are kept in it, for the consumer. */
static void fill(vst_loader *self, uint32_t epoch, uint64_t step, vst_image *scratch) {
    const vst_loader_options *options = &self->options;
    slot *target = &self->slots[step % (uint64_t)self->ring];
    const uint64_t total = vst_dataset_count(self->dataset), first = step * (uint64_t)options->batch;
    const uint64_t left = total - first;
    target->count = left < (uint64_t)options->batch ? (int)left : options->batch;
    target->status = VST_OK;
    for (int i = 0; i < target->count && target->status == VST_OK && !atomic_load(&self->cancel); i++) {
        const uint64_t index = first + (uint64_t)i;
        const uint64_t sample = options->shuffle ? vst_random_permute(options->seed, epoch, total, index) : index;
        target->samples[i] = sample;
        target->status = load_sample(self, epoch, sample, scratch, target->images + (size_t)i * self->image_floats,
                                     &target->labels[i]);
    }
    if (target->status != VST_OK) snprintf(target->error, sizeof target->error, "%s", vst_error_message());
}

/* Whether a worker may begin the next step: not more than the ring ahead of the consumer's batch. */
static bool claimable(const vst_loader *self) {
    return self->claimed < self->steps && self->claimed - self->position < (uint64_t)self->ring;
}

static void *work(void *opaque) {
    worker *me = opaque;
    vst_loader *self = me->loader;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (!self->quit && !claimable(self)) pthread_cond_wait(&self->work, &self->mutex);
        if (self->quit) break;
        const uint64_t step = self->claimed++;
        const uint32_t epoch = self->epoch;
        self->busy++;
        pthread_mutex_unlock(&self->mutex);
        fill(self, epoch, step, &me->image);
        pthread_mutex_lock(&self->mutex);
        self->busy--;
        self->slots[step % (uint64_t)self->ring].ready = true; /* a cancelled one is reset by vst_loader_start */
        pthread_cond_signal(&self->done); /* only the consumer waits for it */
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static vst_status check_options(const vst_loader_options *options, const vst_dataset *dataset) {
    const struct {
        const char *name;
        int value, minimum, maximum;
    } fields[] = {{"batch", options->batch, 1, BATCH_MAX},           {"workers", options->workers, 0, WORKERS_MAX},
                  {"prefetch", options->prefetch, 0, PREFETCH_MAX},  {"size", options->size, 1, SIZE_LIMIT}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].minimum || fields[i].value > fields[i].maximum)
            return vst_fail(VST_ERROR_ARGUMENT, "loader: %s is %d, it must be %d to %d", fields[i].name,
                            fields[i].value, fields[i].minimum, fields[i].maximum);
    if (options->channels != 1 && options->channels != 3)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: channels is %d, it must be 1 or 3", options->channels);
    if (options->drop_last && vst_dataset_count(dataset) < (uint64_t)options->batch)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "loader: %s has %llu samples, less than one batch of %d, and partial batches are "
                        "dropped: use a smaller batch",
                        vst_dataset_path(dataset), (unsigned long long)vst_dataset_count(dataset), options->batch);
    return VST_OK;
}

static vst_status create_slots(vst_loader *self) {
    const size_t batch = (size_t)self->options.batch, side = (size_t)self->options.size;
    size_t bytes;
    self->image_floats = (size_t)self->options.channels * side * side; /* both are bounded: no overflow up to here */
    if (!vst_multiply(batch * sizeof(float), self->image_floats, &bytes)) return vst_fail_memory(SIZE_MAX);
    self->slots = vst_calloc((size_t)self->ring, sizeof *self->slots);
    if (!self->slots) return vst_fail_memory((size_t)self->ring * sizeof *self->slots);
    for (int i = 0; i < self->ring; i++) {
        slot *target = &self->slots[i];
        target->images = vst_alloc_aligned(bytes);
        target->labels = vst_alloc(batch * sizeof *target->labels);
        target->samples = vst_alloc(batch * sizeof *target->samples);
        if (!target->images || !target->labels || !target->samples) return vst_fail_memory(bytes);
    }
    return VST_OK;
}

/* Signals stay with the program's own threads. */
static vst_status create_workers(vst_loader *self) {
    const int count =
        self->options.workers ? self->options.workers : 1; /* without threads the consumer uses the first */
    self->workers = vst_calloc((size_t)count, sizeof *self->workers);
    if (!self->workers) return vst_fail_memory((size_t)count * sizeof *self->workers);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = 0;
    for (; self->running < self->options.workers; self->running++) {
        worker *next = &self->workers[self->running];
        next->loader = self;
        error = pthread_create(&next->thread, NULL, work, next);
        if (error) break;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!error) return VST_OK;
    return vst_fail(VST_ERROR_IO, "loader: the system refuses thread %d of %d (%s): use fewer workers",
                    self->running + 1, self->options.workers, strerror(error));
}

vst_status vst_loader_create(vst_loader **out, const vst_dataset *dataset, const vst_loader_options *options) {
    *out = NULL;
    vst_status status = check_options(options, dataset);
    if (status != VST_OK) return status;
    vst_loader *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    const uint64_t count = vst_dataset_count(dataset), batch = (uint64_t)options->batch;
    self->options = *options;
    self->dataset = dataset;
    self->steps = count / batch + (!options->drop_last && count % batch != 0);
    self->claimed = self->steps; /* idle until the first start */
    self->ring = options->workers ? (options->prefetch ? options->prefetch : DEFAULT_PREFETCH) + 1 : 1;
    pthread_mutex_init(&self->mutex, NULL); /* with default attributes these three cannot fail */
    pthread_cond_init(&self->work, NULL);
    pthread_cond_init(&self->done, NULL);
    status = create_slots(self);
    if (status == VST_OK) status = create_workers(self);
    if (status == VST_OK) *out = self;
    else vst_loader_destroy(self);
    return status;
}

void vst_loader_destroy(vst_loader *self) {
    if (!self) return;
    pthread_mutex_lock(&self->mutex);
    self->quit = true;
    atomic_store(&self->cancel, true);
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    for (int i = 0; i < self->running; i++) pthread_join(self->workers[i].thread, NULL);
    for (int i = 0; self->workers && i < (self->options.workers ? self->options.workers : 1); i++)
        vst_image_clear(&self->workers[i].image);
    for (int i = 0; self->slots && i < self->ring; i++) {
        vst_free(self->slots[i].images);
        vst_free(self->slots[i].labels);
        vst_free(self->slots[i].samples);
    }
    vst_free(self->workers);
    vst_free(self->slots);
    pthread_cond_destroy(&self->done);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->mutex);
    vst_free(self);
}

uint64_t vst_loader_steps(const vst_loader *self) { return self->steps; }
double vst_loader_waited(const vst_loader *self) { return self->waited; }

vst_status vst_loader_start(vst_loader *self, uint32_t epoch, uint64_t step) {
    if (step > self->steps)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: step %llu asked for, an epoch has %llu", (unsigned long long)step,
                        (unsigned long long)self->steps);
    pthread_mutex_lock(&self->mutex);
    self->claimed = self->steps; /* no new work, and what is under way ends soon */
    atomic_store(&self->cancel, true);
    while (self->busy > 0) pthread_cond_wait(&self->done, &self->mutex);
    atomic_store(&self->cancel, false);
    for (int i = 0; i < self->ring; i++) self->slots[i].ready = false;
    self->epoch = epoch;
    self->claimed = self->position = step;
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    self->started = true;
    self->holding = false;
    return VST_OK;
}

/* Gives the batch handed out last back to the ring and waits for the next one; NULL at the end of the epoch. */
static const slot *take(vst_loader *self) {
    slot *target = NULL;
    pthread_mutex_lock(&self->mutex);
    if (self->holding) {
        self->slots[self->position++ % (uint64_t)self->ring].ready = false;
        self->holding = false;
        pthread_cond_broadcast(&self->work);
    }
    if (self->position < self->steps) {
        target = &self->slots[self->position % (uint64_t)self->ring];
        self->holding = true;
        while (self->options.workers && !target->ready) pthread_cond_wait(&self->done, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    if (target && !self->options.workers) fill(self, self->epoch, self->position, &self->workers[0].image);
    return target;
}

vst_status vst_loader_next(vst_loader *self, vst_batch *batch) {
    *batch = (vst_batch){0};
    if (!self->started) {
        vst_status status = vst_loader_start(self, 0, 0);
        if (status != VST_OK) return status;
    }
    const double begin = now();
    const slot *ready = take(self);
    self->waited += now() - begin;
    if (!ready) return VST_OK;
    if (ready->status != VST_OK) return vst_fail(ready->status, "%s", ready->error);
    *batch = (vst_batch){ready->count, ready->images, ready->labels, ready->samples};
    return VST_OK;
}
