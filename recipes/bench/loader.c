/* Benchmark of image loading against Pillow and timm: decoding, transforms of decoded images, and both. Files and
 * pixels are held in memory, so that no disk is measured. */
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/loader/loader.h"
#include "datasets/loader/sample.h"
#include "recipes/bench/internal.h"
#include "recipes/infer/median.h"
#include "vision/base/clock.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"

extern const char vsti_bench_loader_peer_script[]; /* generated from loader_peer.py by CMake */

enum { IMAGES = 128, ROUND_IMAGES = 64, SIZE = 224, BATCH = 4, MAX_THREADS = 64, ENDLESS = 1 << 30 };
#define MEMORY_LIMIT ((size_t)1 << 29)
static const double crop_pct = 0.875;
static const double imagenet_mean[3] = {0.485, 0.456, 0.406}, imagenet_std[3] = {0.229, 0.224, 0.225};
static const char train_policies[] =
    "random_resized_crop:size=224, flip, rand_augment:policy=rand-m9-mstd0.5-inc1, "
    "random_erasing:probability=0.25";

/* ---- Image files in memory, as an endless data set ---- */

typedef struct store {
    vst_dataset base;
    vst_bytes files[IMAGES];
    vst_image pictures[IMAGES]; /* decoded files */
    int count;
    int round; /* images per round, at least ROUND_IMAGES; each file is used equally often, because some take ten times
                  as long as others */
} store;

static vst_status store_bytes(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label) {
    const store *self = (const store *)dataset;
    const vst_bytes *file = &self->files[index % (uint64_t)self->count];
    const vst_status status = vst_bytes_resize(bytes, file->size);
    if (status != VST_OK) return status;
    memcpy(bytes->data, file->data, file->size);
    *label = -1;
    return VST_OK;
}

static const vst_dataset_methods store_methods = {.read_bytes = store_bytes};

static vst_status decode(const store *self, int index, vst_image *image) {
    const vst_bytes *file = &self->files[index % self->count];
    return vst_image_decode(file->data, file->size, &(vst_decode_options){.channels = 3}, image, NULL);
}

/* Keeps the files that can be decoded. */
static vst_status fill_store(store *self, const vst_dataset *dataset) {
    vst_status status = VST_OK;
    size_t total = 0;
    for (uint64_t i = 0; i < vst_dataset_count(dataset) && self->count < IMAGES && total < MEMORY_LIMIT; i++) {
        vst_bytes *file = &self->files[self->count];
        int label;
        status = vst_dataset_read_bytes(dataset, i, file, &label);
        if (status == VST_OK) {
            self->count++;
            status = decode(self, self->count - 1, &self->pictures[self->count - 1]);
            if (status != VST_OK) self->count--;
        }
        if (status != VST_OK && !vst_dataset_is_broken(status)) goto out;
        if (status == VST_OK) total += file->size + self->pictures[self->count - 1].capacity;
    }
    if (!self->count) VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: no image can be decoded", vst_dataset_path(dataset)));
    self->round = self->count * ((ROUND_IMAGES + self->count - 1) / self->count);
    status = VST_OK;
out:
    return status;
}

static vst_status open_store(store *self, const char *path, const char *format) {
    vst_status status = VST_OK;
    vst_dataset *all = NULL, *some = NULL;
    *self = (store){.base = {.methods = &store_methods, .path = path, .count = ENDLESS, .channels = 3}};
    VST_TRY(vst_dataset_open(&all, path, "train", &(vst_dataset_options){.format = format, .channels = 3}));
    if (!vst_dataset_encoded(all))
        VST_TRY(vst_fail(VST_ERROR_UNSUPPORTED,
                         "%s: its samples are stored as pixels: there is nothing to decode; give a folder or "
                         "tar files of images",
                         path));
    VST_TRY(
        vst_dataset_sample(all, vst_dataset_count(all) < 2 * IMAGES ? vst_dataset_count(all) : 2 * IMAGES, 0, &some));
    VST_TRY(fill_store(self, some));
out:
    vst_dataset_close(some);
    vst_dataset_close(all);
    return status;
}

static void close_store(store *self) {
    for (int i = 0; i < IMAGES; i++) {
        vst_bytes_clear(&self->files[i]);
        vst_image_clear(&self->pictures[i]);
    }
}

/* ---- Our side ---- */

/* What a row measures. */
typedef enum work {
    WORK_DECODE,    /* file to pixels */
    WORK_TRANSFORM, /* pixels to normalised floats */
    WORK_LOAD       /* file to normalised floats, by the loader */
} work;

typedef struct row {
    const char *kind, *name;
    work work;
    vst_loader_options options; /* unused by WORK_DECODE */
    double one[VST_BENCH_ROUNDS], many[VST_BENCH_ROUNDS], peer[VST_BENCH_ROUNDS], ratio[VST_BENCH_ROUNDS];
} row;

/* Our loader leaves the normalisation to the model, the peer's transform includes it; so it is added to our time. */
static void normalize(const float *in, float *out) {
    for (int c = 0; c < 3; c++) {
        const float mean = (float)imagenet_mean[c], inverse = (float)(1 / imagenet_std[c]);
        for (int i = c * SIZE * SIZE; i < (c + 1) * SIZE * SIZE; i++) out[i] = (in[i] - mean) * inverse;
    }
}

/* A round of WORK_DECODE or WORK_TRANSFORM. Threads take the next image in turn. */
typedef struct job {
    const row *row;
    const store *files;
    uint32_t epoch; /* gives each round its own random numbers */
    atomic_int next;
    atomic_bool failed;
} job;

static vst_status do_one(const job *self, int index, vsti_sample_memory *memory, float *floats) {
    const vst_augment_view view = {.sample = (uint64_t)index, .epoch = self->epoch};
    if (self->row->work == WORK_DECODE) return decode(self->files, index, &memory->image);
    const vst_image *picture = &self->files->pictures[index % self->files->count];
    const vst_status status = vsti_sample_transform(picture, &self->row->options, view, memory, floats);
    if (status == VST_OK) normalize(floats, floats);
    return status;
}

static void *do_some(void *opaque) {
    job *self = opaque;
    vsti_sample_memory memory = {0};
    float *floats = vst_alloc_aligned(3 * SIZE * SIZE * sizeof *floats);
    int index;
    if (!floats) atomic_store(&self->failed, true);
    while (!atomic_load(&self->failed) && (index = atomic_fetch_add(&self->next, 1)) < self->files->round)
        if (do_one(self, index, &memory, floats) != VST_OK) atomic_store(&self->failed, true);
    vst_free(floats);
    vsti_sample_memory_clear(&memory);
    return NULL;
}

static vst_status job_rate(const row *self, const store *files, uint32_t epoch, int threads, double *rate) {
    pthread_t others[MAX_THREADS];
    const double begin = vst_seconds();
    job round = {.row = self, .files = files, .epoch = epoch};
    int started = 0;
    while (started < threads - 1 && pthread_create(&others[started], NULL, do_some, &round) == 0) started++;
    do_some(&round);
    for (int i = 0; i < started; i++) pthread_join(others[i], NULL);
    *rate = files->round / (vst_seconds() - begin);
    return atomic_load(&round.failed) ? vst_fail(VST_ERROR_MEMORY, "%s: out of memory", self->name) : VST_OK;
}

/* With one thread, images are read in the caller's thread. The first batch is not measured, because workers start with
 * it. */
static vst_status loader_rate(const row *self, const store *files, uint32_t epoch, int threads, double *rate) {
    vst_status status = VST_OK;
    vst_loader *loader = NULL;
    vst_loader_options options = self->options;
    vst_batch batch;
    int images = 0;
    float *floats = vst_alloc_aligned(3 * SIZE * SIZE * sizeof *floats);
    if (!floats) VST_TRY(vst_fail_memory(3 * SIZE * SIZE * sizeof *floats));
    options.workers = threads == 1 ? 0 : threads;
    VST_TRY(vst_loader_create(&loader, &files->base, &options));
    VST_TRY(vst_loader_start(loader, epoch, 0));
    VST_TRY(vst_loader_next(loader, &batch));
    const double begin = vst_seconds();
    do {
        VST_TRY(vst_loader_next(loader, &batch));
        for (int i = 0; i < batch.count; i++) normalize(batch.images + (size_t)i * 3 * SIZE * SIZE, floats);
        images += batch.count;
    } while (images < files->round);
    *rate = images / (vst_seconds() - begin);
out:
    vst_loader_destroy(loader);
    vst_free(floats);
    return status;
}

/* Images per second on `threads` threads. */
static vst_status rate_of(const row *self, const store *files, uint32_t epoch, int threads, double *rate) {
    return self->work == WORK_LOAD ? loader_rate(self, files, epoch, threads, rate)
                                   : job_rate(self, files, epoch, threads, rate);
}

/* ---- Measuring one row ---- */

static char *case_json(const row *self, const store *files, const char *path) {
    json_t *lengths = json_array();
    for (int i = 0; i < files->count; i++)
        json_array_append_new(lengths, json_integer((json_int_t)files->files[i].size));
    json_t *root = json_pack("{s:s, s:b, s:i, s:s, s:o}", "kind", self->kind, "decoded", self->work == WORK_TRANSFORM,
                             "size", SIZE, "file", path, "lengths", lengths);
    char *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return json;
}

static vst_status measure(row *self, const store *files, const vst_bench_loader_options *options, const char *path) {
    vst_status status = VST_OK;
    vst_bench_worker *worker = NULL;
    vst_bench_facts facts = {0};
    char *json = NULL;
    if (options->python) {
        if (!(json = case_json(self, files, path))) VST_TRY(vst_fail_memory(1 << 14));
        VST_TRY(vsti_bench_start_script(
            &worker, &(vsti_bench_script){options->python, vsti_bench_loader_peer_script, json}, &facts));
    }
    for (int i = 0; i < options->rounds; i++) {
        double seconds;
        if (worker) VST_TRY(vst_bench_run(worker, files->round, &seconds));
        if (worker) self->peer[i] = files->round / seconds;
        VST_TRY(rate_of(self, files, (uint32_t)i, 1, &self->one[i]));
        if (options->threads > 1) VST_TRY(rate_of(self, files, (uint32_t)i, options->threads, &self->many[i]));
        if (worker) self->ratio[i] = self->one[i] / self->peer[i];
    }
out:
    vst_bench_end(worker, NULL);
    free(json);
    return status;
}

static vst_bench_loader_row summary(row *self, const vst_bench_loader_options *options) {
    const int rounds = options->rounds;
    double scaling[VST_BENCH_ROUNDS];
    vst_bench_loader_row out = {.name = self->name, .ratio_low = self->ratio[0], .ratio_high = self->ratio[0]};
    for (int i = 0; i < rounds; i++) {
        if (self->ratio[i] < out.ratio_low) out.ratio_low = self->ratio[i];
        if (self->ratio[i] > out.ratio_high) out.ratio_high = self->ratio[i];
        scaling[i] = self->many[i] / self->one[i];
    }
    out.one = vst_median(self->one, rounds);
    out.many = vst_median(self->many, rounds);
    out.scaling = vst_median(scaling, rounds);
    out.peer = vst_median(self->peer, rounds);
    out.ratio = vst_median(self->ratio, rounds);
    return out;
}

/* ---- All rows ---- */

/* Writes all images to one file for the peer. `path` is a template for mkstemp. */
static vst_status write_files(const store *files, char *path) {
    const int descriptor = mkstemp(path);
    FILE *file = descriptor >= 0 ? fdopen(descriptor, "wb") : NULL;
    bool ok = file != NULL;
    for (int i = 0; ok && i < files->count; i++)
        ok = fwrite(files->files[i].data, 1, files->files[i].size, file) == files->files[i].size;
    if (file && fclose(file) != 0) ok = false;
    else if (!file && descriptor >= 0) close(descriptor);
    return ok ? VST_OK : vst_fail(VST_ERROR_IO, "%s cannot be written: %m; TMPDIR names another place", path);
}

static vst_status measure_rows(const store *files, const vst_bench_loader_options *options, const char *path,
                               vst_bench_loader_row *out) {
    vst_status status = VST_OK;
    vst_augment *augment = NULL;
    row *rows = vst_calloc(VST_BENCH_LOADER_ROWS, sizeof *rows);
    if (!rows) VST_TRY(vst_fail_memory(VST_BENCH_LOADER_ROWS * sizeof *rows));
    VST_TRY(vst_augment_create(&augment, train_policies));
    vst_loader_options train = {.batch = BATCH, .channels = 3, .size = SIZE};
    memcpy(train.mean, imagenet_mean, sizeof train.mean);
    memcpy(train.std, imagenet_std, sizeof train.std);
    vst_loader_options evaluate = train;
    train.augment = augment;
    evaluate.evaluation = true;
    evaluate.crop_pct = crop_pct;
    evaluate.filter = VST_FILTER_BICUBIC;
    rows[0] = (row){.kind = "decode", .name = "decode", .work = WORK_DECODE};
    rows[1] = (row){.kind = "train", .name = "train as DeiT, decoded images", .work = WORK_TRANSFORM, .options = train};
    rows[2] = (row){.kind = "train", .name = "train as DeiT, files", .work = WORK_LOAD, .options = train};
    rows[3] = (row){.kind = "eval", .name = "evaluate, decoded images", .work = WORK_TRANSFORM, .options = evaluate};
    rows[4] = (row){.kind = "eval", .name = "evaluate, files", .work = WORK_LOAD, .options = evaluate};
    for (int i = 0; i < VST_BENCH_LOADER_ROWS; i++) {
        VST_TRY(measure(&rows[i], files, options, path));
        out[i] = summary(&rows[i], options);
    }
out:
    vst_augment_destroy(augment);
    vst_free(rows);
    return status;
}

vst_status vst_bench_loader(const vst_bench_loader_options *options, vst_bench_loader_row rows[VST_BENCH_LOADER_ROWS]) {
    vst_status status = VST_OK;
    char *path = NULL;
    const char *base = getenv("TMPDIR");
    store *files = vst_calloc(1, sizeof *files);
    if (!files) return vst_fail_memory(sizeof *files);
    if (options->threads < 1 || options->threads > MAX_THREADS || options->rounds < 1 ||
        options->rounds > VST_BENCH_ROUNDS)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%d threads, %d rounds: there must be 1 to %d threads and 1 to %d rounds",
                         options->threads, options->rounds, MAX_THREADS, VST_BENCH_ROUNDS));
    VST_TRY(open_store(files, options->path, options->format));
    if (!(path = vst_format("%s/vistill-bench-XXXXXX", base ? base : P_tmpdir))) VST_TRY(vst_fail_memory(64));
    if (options->python) VST_TRY(write_files(files, path));
    VST_TRY(measure_rows(files, options, path, rows));
out:
    if (path && options->python) unlink(path);
    vst_free(path);
    close_store(files);
    vst_free(files);
    return status;
}
