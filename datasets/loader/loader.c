/* The loader. Workers claim parts of batches in order and fill them in slot (step mod ring); the consumer takes whole
 * batches in order. As all workers can fill the same batch, a few slots are enough for any number of workers. One mutex
 * protects all positions. Pixels are written without it, by the one worker that has claimed the part. */
#include "datasets/loader/loader.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "datasets/loader/broken.h"
#include "datasets/loader/sample.h"
#include "vision/base/clock.h"
#include "vision/base/memory.h"

enum {
    DEFAULT_PREFETCH = 4,
    RING_BYTES = 256 << 20, /* of that default: fewer batches if they are larger, at least one */
    PART_MIN = 16,          /* samples in a part of a batch */
    PARTS_MAX = 64,         /* parts of a batch */
    BATCH_MAX = 1 << 20,
    WORKERS_MAX = 1024,
    PREFETCH_MAX = 1024,
    SIZE_LIMIT = 16384,
    REPEATS_MAX = 64,
    WORLD_MAX = 65536,
    CLASSES_MAX = 1 << 20
};

/* Successive samples of a batch, which one worker loads. */
typedef struct part {
    vst_status status; /* its text is in `error` */
    char error[1024];
    vsti_broken_list broken; /* broken samples found while loading it */
} part;

typedef struct slot {
    float *images, *targets; /* targets: NULL without targets */
    int *labels;
    uint64_t *samples;
    vst_mix *mixes; /* by image */
    part *parts;
    int count;
    int missing; /* number of parts that are not filled yet */
    bool ready;
} slot;

typedef struct worker {
    vst_loader *loader;
    pthread_t thread;
    vsti_sample_memory memory;
} worker;

struct vst_loader {
    vst_loader_options options;
    const vst_dataset *dataset;
    vst_order order;
    uint64_t steps;
    size_t image_floats; /* floats per image */
    size_t bytes;        /* of all slots */
    slot *slots;
    int ring;
    int part_size, parts; /* samples in a part, parts of a whole batch */
    worker *workers;
    int running; /* number of started threads */

    pthread_mutex_t mutex;
    pthread_cond_t work, done; /* work: a step may be claimed; done: a batch is ready or a worker is idle */
    /* Protected by mutex. */
    uint32_t epoch;
    uint64_t claimed;  /* the step to fill; `steps`: nothing to do */
    int claimed_parts; /* of that step: number of parts that are claimed */
    uint64_t position; /* the consumer's batch (if `holding`), else the next one */
    int busy;          /* number of workers that are filling a part */
    bool quit;
    atomic_bool cancel; /* stop filling batches */
    /* Used by the consumer only. */
    bool started, holding;
    double waited;
    vsti_broken_tally broken;
};

/* Loads view.sample. If it is broken and the policy allows it, loads the next readable sample with its own label and
 * random numbers, and sets *sample to it, so that the result depends on the data only. */
static vst_status load_readable(const vst_loader *self, vst_augment_view view, vsti_sample_memory *memory,
                                float *pixels, uint64_t *sample, int *label, vsti_broken_list *broken) {
    const vst_loader_options *options = &self->options;
    const uint64_t total = vst_dataset_count(self->dataset), wanted = view.sample;
    vst_status status = VST_OK;
    *sample = wanted;
    for (uint64_t i = 0; i <= VSTI_BROKEN_RETRIES && i < total; i++) {
        view.sample = (wanted + i) % total;
        status = vsti_sample_load(self->dataset, options, view, memory, pixels, label);
        if (status == VST_OK && i > 0 && options->unlabel_replaced) *label = -1;
        else if (status == VST_OK) *sample = view.sample;
        if (options->broken.policy == VST_BROKEN_ERROR || !vst_dataset_is_broken(status)) return status;
        const vst_status added = vsti_broken_add(broken, view.sample);
        if (added != VST_OK) return added;
    }
    return vst_fail_in(status, "too many broken samples in a row; the last one");
}

/* Fills targets and mixes, after all samples are loaded. */
static void finish_batch(const vst_loader *self, slot *target, uint32_t epoch, uint64_t step) {
    const vst_loader_options *o = &self->options;
    vst_mix_draw(&o->mix, o->seed, epoch, step * (uint64_t)o->world + (uint64_t)o->rank, o->size, o->size,
                 target->mixes, target->count);
    vst_mix_images(target->mixes, target->images, target->count, o->channels, o->size, o->size);
    if (!target->targets) return;
    vst_targets_fill(&o->targets, target->labels, target->samples, target->count, target->targets);
    vst_mix_targets(target->mixes, target->targets, target->count, o->targets.classes);
}

static uint32_t view_of(const vst_loader_options *options, uint32_t epoch) {
    return options->views ? epoch % (uint32_t)options->views : epoch;
}

/* The number of samples of batch `step`. */
static int count_of(const vst_loader *self, uint64_t step) {
    const uint64_t batch = (uint64_t)self->options.batch, left = vst_order_count(&self->order) - step * batch;
    return left < batch ? (int)left : self->options.batch;
}

/* The number of parts of a batch of `count` samples. */
static int parts_of(const vst_loader *self, int count) { return (count + self->part_size - 1) / self->part_size; }

static void begin_slot(const vst_loader *self, slot *target, uint64_t step) {
    target->count = count_of(self, step);
    target->missing = parts_of(self, target->count);
}

/* Loads part `index` of batch `step`. An error is stored in the part for the consumer. */
static void fill_part(vst_loader *self, uint32_t epoch, uint64_t step, int index, vsti_sample_memory *memory) {
    const vst_loader_options *options = &self->options;
    slot *target = &self->slots[step % (uint64_t)self->ring];
    part *filled = &target->parts[index];
    const int first = index * self->part_size, rest = target->count - first,
              end = first + (rest < self->part_size ? rest : self->part_size);
    filled->status = VST_OK;
    filled->broken.count = 0;
    for (int i = first; i < end && filled->status == VST_OK; i++) {
        const vst_place place = vst_order_at(&self->order, epoch, step * (uint64_t)options->batch + (uint64_t)i);
        const vst_augment_view view = {options->seed, place.sample, view_of(options, epoch), place.copy};
        if (atomic_load(&self->cancel)) return;
        filled->status = load_readable(self, view, memory, target->images + (size_t)i * self->image_floats,
                                       &target->samples[i], &target->labels[i], &filled->broken);
    }
    if (filled->status != VST_OK) snprintf(filled->error, sizeof filled->error, "%s", vst_error_message());
}

/* The first part with an error, or NULL. */
static const part *failed_part(const vst_loader *self, const slot *target) {
    for (int i = 0; i < parts_of(self, target->count); i++)
        if (target->parts[i].status != VST_OK) return &target->parts[i];
    return NULL;
}

/* Mixes a batch whose parts are filled. */
static void finish_slot(const vst_loader *self, slot *target, uint32_t epoch, uint64_t step) {
    if (!atomic_load(&self->cancel) && !failed_part(self, target)) finish_batch(self, target, epoch, step);
}

/* True if the next part may be claimed: its step must be less than `ring` steps ahead of the consumer. */
static bool can_claim(const vst_loader *self) {
    return self->claimed < self->steps && self->claimed - self->position < (uint64_t)self->ring;
}

/* Claims the next part of batch *step; returns its index. */
static int claim(vst_loader *self, uint64_t *step) {
    slot *target = &self->slots[self->claimed % (uint64_t)self->ring];
    const int index = self->claimed_parts++;
    *step = self->claimed;
    if (index == 0) begin_slot(self, target, *step);
    if (self->claimed_parts == parts_of(self, target->count)) {
        self->claimed++;
        self->claimed_parts = 0;
    }
    return index;
}

static void *work(void *opaque) {
    worker *me = opaque;
    vst_loader *self = me->loader;
    pthread_mutex_lock(&self->mutex);
    for (;;) {
        while (!self->quit && !can_claim(self)) pthread_cond_wait(&self->work, &self->mutex);
        if (self->quit) break;
        uint64_t step;
        const int index = claim(self, &step);
        const uint32_t epoch = self->epoch;
        slot *target = &self->slots[step % (uint64_t)self->ring];
        self->busy++;
        pthread_mutex_unlock(&self->mutex);
        fill_part(self, epoch, step, index, &me->memory);
        pthread_mutex_lock(&self->mutex);
        if (--target->missing == 0) {
            pthread_mutex_unlock(&self->mutex);
            finish_slot(self, target, epoch, step);
            pthread_mutex_lock(&self->mutex);
            target->ready = true; /* vst_loader_start resets a cancelled slot */
        }
        self->busy--;
        pthread_cond_signal(&self->done); /* only the consumer waits for it */
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static vst_status check_options(const vst_loader_options *options) {
    const struct {
        const char *name;
        int value, minimum, maximum;
    } fields[] = {{"batch", options->batch, 1, BATCH_MAX},
                  {"workers", options->workers, 0, WORKERS_MAX},
                  {"prefetch", options->prefetch, 0, PREFETCH_MAX},
                  {"size", options->size, 1, SIZE_LIMIT},
                  {"repeats", options->repeats, 0, REPEATS_MAX},
                  {"views", options->views, 0, INT_MAX},
                  {"world", options->world, 0, WORLD_MAX},
                  {"classes", options->targets.classes, 0, CLASSES_MAX},
                  {"rank", options->rank, 0, options->world > 1 ? options->world - 1 : 0}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < fields[i].minimum || fields[i].value > fields[i].maximum)
            return vst_fail(VST_ERROR_ARGUMENT, "loader: %s is %d, it must be %d to %d", fields[i].name,
                            fields[i].value, fields[i].minimum, fields[i].maximum);
    if (options->channels != 1 && options->channels != 3)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: channels is %d, it must be 1 or 3", options->channels);
    if (options->evaluation && options->augment)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: evaluation shows images as they are: no augmentation with it");
    if (options->mix.maximum > 0 &&
        !(options->mix.minimum >= 0 && options->mix.minimum < options->mix.maximum && options->mix.maximum <= 1))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "loader: CutMix's box has sides of %g to %g of the image's: 0 to 1 is possible",
                        options->mix.minimum, options->mix.maximum);
    if (options->views && vst_mix_enabled(&options->mix))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "loader: views cannot be combined with mixup or CutMix, whose images depend on the batch");
    if (options->world > 1 && !options->drop_last)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: with %d processes, partial batches must be dropped (drop_last)",
                        options->world);
    if (vst_mix_enabled(&options->mix) && (options->batch % 2 || !options->drop_last))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "loader: mixup and CutMix mix pairs of images: the batch must be even (it is %d), and partial "
                        "batches must be "
                        "dropped (drop_last)",
                        options->batch);
    return VST_OK;
}

static vst_status check_length(const vst_loader *self) {
    const uint64_t count = vst_order_count(&self->order), samples = vst_dataset_count(self->dataset);
    const uint64_t least = self->options.drop_last ? (uint64_t)self->options.batch : 1;
    if (count >= least) return VST_OK;
    return vst_fail(
        VST_ERROR_ARGUMENT,
        "loader: %s has %llu samples, %llu for this process in an epoch, less than one batch of %d, and partial "
        "batches are dropped: use a smaller batch",
        vst_dataset_path(self->dataset), (unsigned long long)samples, (unsigned long long)count, self->options.batch);
}

/* The number of slots: the consumer's and those that are filled meanwhile. Without workers one. */
static int ring_size(const vst_loader *self, size_t slot_bytes) {
    const int prefetch = self->options.prefetch;
    const size_t fitting = RING_BYTES / slot_bytes; /* slot_bytes > 0 */
    size_t ring = prefetch ? (size_t)prefetch + 1 : DEFAULT_PREFETCH + 1;
    if (!self->options.workers) return 1;
    if (!prefetch && ring > fitting) ring = fitting > 2 ? fitting : 2;
    return (int)(ring < self->steps ? ring : self->steps);
}

static vst_status create_slots(vst_loader *self) {
    const uint64_t count = vst_order_count(&self->order), wanted = (uint64_t)self->options.batch;
    const size_t batch = (size_t)(count < wanted ? count : wanted), side = (size_t)self->options.size;
    const size_t classes = (size_t)self->options.targets.classes;
    size_t bytes, targets, all;
    self->image_floats = (size_t)self->options.channels * side * side; /* no overflow: both are bounded */
    self->part_size = ((int)batch + PARTS_MAX - 1) / PARTS_MAX;
    if (self->part_size < PART_MIN) self->part_size = PART_MIN;
    self->parts = parts_of(self, (int)batch);
    if (!vst_multiply(batch * sizeof(float), self->image_floats, &bytes) ||
        !vst_multiply(batch * sizeof(float), classes, &targets))
        return vst_fail_memory(SIZE_MAX);
    const size_t one = bytes + targets + batch * (sizeof(int) + sizeof(uint64_t) + sizeof(vst_mix));
    self->ring = ring_size(self, one);
    if (!vst_multiply((size_t)self->ring, one, &all)) return vst_fail_memory(SIZE_MAX);
    self->bytes = all;
    self->slots = vst_calloc((size_t)self->ring, sizeof *self->slots);
    if (!self->slots) return vst_fail_memory((size_t)self->ring * sizeof *self->slots);
    for (int i = 0; i < self->ring; i++) {
        slot *target = &self->slots[i];
        target->images = vst_alloc_aligned(bytes);
        target->targets = targets ? vst_alloc_aligned(targets) : NULL;
        target->labels = vst_alloc(batch * sizeof *target->labels);
        target->samples = vst_alloc(batch * sizeof *target->samples);
        target->mixes = vst_alloc(batch * sizeof *target->mixes);
        target->parts = vst_calloc((size_t)self->parts, sizeof *target->parts);
        if (!target->images || (targets && !target->targets) || !target->labels || !target->samples || !target->mixes ||
            !target->parts)
            return vst_fail_memory(bytes);
    }
    return VST_OK;
}

/* Workers block all signals, which are left to the program's own threads. */
static vst_status create_workers(vst_loader *self) {
    const int count = self->options.workers ? self->options.workers : 1; /* 0 threads: memory of the consumer */
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
    return vst_fail(VST_ERROR_IO, "loader: worker thread %d of %d cannot be created (%s): use fewer workers",
                    self->running + 1, self->options.workers, strerror(error));
}

vst_status vst_loader_create(vst_loader **out, const vst_dataset *dataset, const vst_loader_options *options) {
    *out = NULL;
    vst_status status = check_options(options);
    if (status != VST_OK) return status;
    vst_loader *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    const uint64_t batch = (uint64_t)options->batch;
    self->options = *options;
    if (!self->options.world) self->options.world = 1;
    for (int c = 0; c < 3; c++)
        if (self->options.std[c] == 0) self->options.std[c] = 1;
    self->dataset = dataset;
    self->order = (vst_order){.samples = vst_dataset_count(dataset),
                              .seed = options->seed,
                              .shuffle = options->shuffle,
                              .repeats = options->repeats,
                              .rank = options->rank,
                              .world = options->world};
    const uint64_t count = vst_order_count(&self->order);
    self->steps = count / batch + (!options->drop_last && count % batch != 0);
    self->claimed = self->steps;            /* nothing to do before vst_loader_start */
    pthread_mutex_init(&self->mutex, NULL); /* these cannot fail with default attributes */
    pthread_cond_init(&self->work, NULL);
    pthread_cond_init(&self->done, NULL);
    status = check_length(self);
    if (status == VST_OK) status = create_slots(self);
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
        vsti_sample_memory_clear(&self->workers[i].memory);
    for (int i = 0; self->slots && i < self->ring; i++) {
        vst_free(self->slots[i].images);
        vst_free(self->slots[i].targets);
        vst_free(self->slots[i].labels);
        vst_free(self->slots[i].samples);
        vst_free(self->slots[i].mixes);
        for (int p = 0; self->slots[i].parts && p < self->parts; p++)
            vsti_broken_clear(&self->slots[i].parts[p].broken);
        vst_free(self->slots[i].parts);
    }
    vsti_broken_tally_clear(&self->broken);
    vst_free(self->workers);
    vst_free(self->slots);
    pthread_cond_destroy(&self->done);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->mutex);
    vst_free(self);
}

uint64_t vst_loader_steps(const vst_loader *self) { return self->steps; }
uint64_t vst_loader_broken(const vst_loader *self) { return self->broken.count; }
double vst_loader_waited(const vst_loader *self) { return self->waited; }
size_t vst_loader_bytes(const vst_loader *self) { return self->bytes; }

/* Hashes each field, because a structure's padding is undefined. */
uint64_t vst_view_id(const vst_loader_options *o) {
    const double seen[] = {o->size, o->channels, o->repeats > 1 ? o->repeats : 1, o->fast_decode};
    const double view[] = {o->crop_pct > 0 ? o->crop_pct : 1, o->filter};
    const double mixed[] = {o->mix.mixup,   o->mix.cutmix, o->mix.probability,          o->mix.switch_probability,
                            o->batch,       o->shuffle,    o->world > 1 ? o->world : 1, o->mix.mode,
                            o->mix.minimum, o->mix.maximum};
    const bool plain = o->mix.mode == VST_MIX_BATCH && o->mix.maximum == 0; /* the id is that of earlier versions */
    const size_t mixed_size = sizeof mixed - (plain ? 3 * sizeof *mixed : 0);
    double normalization[6];
    for (int c = 0; c < 3; c++) {
        normalization[c] = o->mean[c];
        normalization[3 + c] = o->std[c] == 0 ? 1 : o->std[c];
    }
    const uint64_t parts[6] = {o->seed,
                               vst_augment_hash(o->augment),
                               XXH3_64bits(seen, sizeof seen),
                               XXH3_64bits(normalization, sizeof normalization),
                               o->evaluation ? XXH3_64bits(view, sizeof view) : 0,
                               vst_mix_enabled(&o->mix) ? XXH3_64bits(mixed, mixed_size) : 0};
    return XXH3_64bits(parts, sizeof parts);
}

vst_status vst_loader_start(vst_loader *self, uint32_t epoch, uint64_t step) {
    if (step > self->steps)
        return vst_fail(VST_ERROR_ARGUMENT, "loader: step %llu asked for, an epoch has %llu", (unsigned long long)step,
                        (unsigned long long)self->steps);
    pthread_mutex_lock(&self->mutex);
    self->claimed = self->steps; /* workers claim nothing more, and finish their batch early */
    atomic_store(&self->cancel, true);
    while (self->busy > 0) pthread_cond_wait(&self->done, &self->mutex);
    atomic_store(&self->cancel, false);
    for (int i = 0; i < self->ring; i++) self->slots[i].ready = false;
    self->epoch = epoch;
    self->claimed = self->position = step;
    self->claimed_parts = 0;
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->mutex);
    self->started = true;
    self->holding = false;
    return VST_OK;
}

/* Fills the consumer's batch in its own thread. */
static void fill_slot(vst_loader *self, slot *target) {
    begin_slot(self, target, self->position);
    for (int i = 0; i < parts_of(self, target->count); i++)
        fill_part(self, self->epoch, self->position, i, &self->workers[0].memory);
    finish_slot(self, target, self->epoch, self->position);
}

/* Returns the consumer's batch to the ring and waits for the next one. NULL at the end of the epoch. */
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
    if (target && !self->options.workers) fill_slot(self, target);
    return target;
}

vst_status vst_loader_next(vst_loader *self, vst_batch *batch) {
    *batch = (vst_batch){0};
    if (!self->started) {
        vst_status status = vst_loader_start(self, 0, 0);
        if (status != VST_OK) return status;
    }
    const double begin = vst_seconds();
    const slot *ready = take(self);
    self->waited += vst_seconds() - begin;
    if (!ready) return VST_OK;
    const part *failed = failed_part(self, ready);
    if (failed) return vst_fail(failed->status, "%s", failed->error);
    for (int i = 0; i < parts_of(self, ready->count); i++) {
        const vst_status status =
            vsti_broken_take(&self->broken, &ready->parts[i].broken, self->dataset,
                             self->options.broken.policy == VST_BROKEN_WARN, self->options.broken.limit);
        if (status != VST_OK) return status;
    }
    *batch = (vst_batch){ready->count, ready->images, ready->labels, ready->samples, ready->targets, ready->mixes};
    return VST_OK;
}
