/* The loader: the same batches for any number of workers, restarts, partial batches, errors in their place. */
#include <check.h>
#include <math.h>
#include <stdbool.h>

#include "datasets/loader/loader.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

enum { COUNT = 101, SIDE = 6, BATCH = 8, STEPS = 13, BAD = 42 };

/* A data set in memory: pixels by idx_pixel; sample BAD fails or has another size, as requested. */
typedef struct made {
    vst_dataset base;
    bool fails, odd_size;
    unsigned delay; /* microseconds per read */
} made;

static vst_status made_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    const made *self = (const made *)dataset;
    const bool bad = index == BAD;
    if (bad && self->fails) return vst_fail(VST_ERROR_FORMAT, "broken on purpose");
    vst_status status = vst_image_allocate(image, dataset->channels, SIDE, SIDE + (bad && self->odd_size));
    if (status != VST_OK) return status;
    if (self->delay) usleep(self->delay);
    for (int i = 0; i < image->height * image->width; i++)
        for (int c = 0; c < image->channels; c++)
            image->pixels[i * image->channels + c] =
                (uint8_t)(idx_pixel((int)index, i / image->width, i % image->width) + 50 * c);
    *label = (int)index % 10;
    return VST_OK;
}

static const vst_dataset_methods made_methods = {.read = made_read};

static made make_dataset(int channels) {
    return (made){
        .base = {.methods = &made_methods, .path = "made", .count = COUNT, .channels = channels, .classes = 10}};
}

static vst_loader_options make_options(int workers) {
    return (vst_loader_options){
        .batch = BATCH, .workers = workers, .shuffle = true, .seed = 11, .channels = 1, .size = SIDE};
}

typedef struct kept {
    int count, labels[BATCH];
    uint64_t samples[BATCH];
    float images[BATCH * 3 * SIDE * SIDE];
} kept;

static void keep(kept *out, const vst_batch *batch, int channels) {
    memset(out, 0, sizeof *out);
    out->count = batch->count;
    ck_assert_uint_eq((uintptr_t)batch->images % VST_ALIGNMENT, 0);
    memcpy(out->labels, batch->labels, (size_t)batch->count * sizeof *out->labels);
    memcpy(out->samples, batch->samples, (size_t)batch->count * sizeof *out->samples);
    memcpy(out->images, batch->images, (size_t)(batch->count * channels * SIDE * SIDE) * sizeof *out->images);
}

/* Copies the batches of `epochs` epochs, checking that each epoch has every sample once. */
static void run_epochs(vst_loader *loader, uint32_t epochs, kept *out) {
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        int seen[COUNT] = {0};
        vst_batch batch;
        ck_ok(vst_loader_start(loader, epoch, 0));
        for (int step = 0; step < STEPS; step++) {
            ck_ok(vst_loader_next(loader, &batch));
            ck_assert_int_eq(batch.count, step < STEPS - 1 ? BATCH : COUNT % BATCH);
            for (int i = 0; i < batch.count; i++) {
                seen[batch.samples[i]]++;
                ck_assert_int_eq(batch.labels[i], (int)batch.samples[i] % 10);
            }
            keep(out++, &batch, 1);
        }
        for (int i = 0; i < COUNT; i++) ck_assert_int_eq(seen[i], 1);
        for (int again = 0; again < 2; again++) {
            ck_ok(vst_loader_next(loader, &batch));
            ck_assert_int_eq(batch.count, 0);
        }
    }
}

START_TEST(workers_do_not_matter) {
    static const int workers[] = {0, 1, 2, 7};
    static kept first[2 * STEPS], other[2 * STEPS];
    made data = make_dataset(1);
    vst_augment *augment;
    ck_ok(vst_augment_create(&augment, "crop:padding=2, flip"));
    for (int i = 0; i < 4; i++) {
        for (int prefetch = 0; prefetch < 3; prefetch++) {
            vst_loader_options options = make_options(workers[i]);
            vst_loader *loader;
            options.augment = augment;
            options.prefetch = prefetch;
            ck_ok(vst_loader_create(&loader, &data.base, &options));
            ck_assert_uint_eq(vst_loader_steps(loader), STEPS);
            run_epochs(loader, 2, i + prefetch ? other : first);
            if (i + prefetch) ck_assert_int_eq(memcmp(first, other, sizeof first), 0);
            vst_loader_destroy(loader);
        }
    }
    ck_assert_int_ne(memcmp(first, first + STEPS, STEPS * sizeof *first), 0); /* another order in each epoch */
    vst_augment_destroy(augment);
}
END_TEST

/* Pixels are (C, H, W) of x / 255; without shuffling samples are in order; three channels. */
START_TEST(conversion) {
    made data = make_dataset(3);
    vst_loader_options options = make_options(_i);
    vst_loader *loader;
    vst_batch batch;
    uint64_t next = 0;
    options.shuffle = false;
    options.channels = 3;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    do { /* without vst_loader_start the loader starts at (0, 0) */
        ck_ok(vst_loader_next(loader, &batch));
        for (int i = 0; i < batch.count; i++, next++) {
            ck_assert_uint_eq(batch.samples[i], next);
            for (int p = 0; p < 3 * SIDE * SIDE; p++) {
                const int c = p / (SIDE * SIDE), y = p / SIDE % SIDE, x = p % SIDE;
                const uint8_t pixel = (uint8_t)(idx_pixel((int)next, y, x) + 50 * c);
                ck_assert_float_eq(batch.images[i * 3 * SIDE * SIDE + p], (float)pixel / 255.0f);
            }
        }
    } while (batch.count > 0);
    ck_assert_uint_eq(next, COUNT);
    ck_assert_double_gt(vst_loader_waited(loader), 0);
    ck_assert_double_lt(vst_loader_waited(loader), 30);
    vst_loader_destroy(loader);
}
END_TEST

/* A restart at any position, also while workers are busy, gives the same batches as a straight run. */
START_TEST(restart) {
    static kept straight[2 * STEPS];
    made data = make_dataset(1);
    vst_loader_options options = make_options(_i);
    vst_loader *loader;
    vst_batch batch;
    kept now;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    run_epochs(loader, 2, straight);
    data.delay = 50;
    for (int round = 0; round < 30; round++) {
        const int epoch = round == 0 ? 1 : round % 2, first = round == 0 ? 3 : round * 5 % (STEPS + 1);
        const int length = round == 0 ? STEPS : round % 4;
        ck_ok(vst_loader_start(loader, (uint32_t)epoch, (uint64_t)first));
        for (int step = first; step < STEPS && step < first + length; step++) {
            ck_ok(vst_loader_next(loader, &batch));
            keep(&now, &batch, 1);
            ck_assert_int_eq(memcmp(&now, &straight[epoch * STEPS + step], sizeof now), 0);
        }
    }
    ck_ok(vst_loader_start(loader, 0, STEPS));
    ck_ok(vst_loader_next(loader, &batch));
    ck_assert_int_eq(batch.count, 0);
    ck_assert_int_eq(vst_loader_start(loader, 0, STEPS + 1), VST_ERROR_ARGUMENT);
    ck_ok(vst_loader_start(loader, 0, 0)); /* destroyed while all workers are busy */
    vst_loader_destroy(loader);
}
END_TEST

/* A batch does not change while workers read ahead. */
START_TEST(batch_is_stable) {
    made data = make_dataset(1);
    vst_loader_options options = make_options(2);
    vst_loader *loader;
    vst_batch batch;
    kept before, after;
    options.prefetch = 1;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    for (int step = 0; step < STEPS; step++) {
        ck_ok(vst_loader_next(loader, &batch));
        keep(&before, &batch, 1);
        usleep(2000);
        keep(&after, &batch, 1);
        ck_assert_int_eq(memcmp(&before, &after, sizeof before), 0);
    }
    vst_loader_destroy(loader);
}
END_TEST

/* The error of a sample is returned with its batch; other batches are not affected. */
START_TEST(errors_in_order) {
    made data = make_dataset(1);
    vst_loader_options options = make_options(_i / 2);
    vst_loader *loader;
    vst_batch batch;
    data.fails = _i % 2 == 0;
    data.odd_size = _i % 2 == 1;
    options.shuffle = false;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    for (int step = 0; step < STEPS; step++) {
        const vst_status status = vst_loader_next(loader, &batch);
        if (step != BAD / BATCH) {
            ck_ok(status);
            ck_assert_uint_eq(batch.samples[0], (uint64_t)step * BATCH);
            continue;
        }
        ck_assert_int_eq(status, data.fails ? VST_ERROR_FORMAT : VST_ERROR_SHAPE);
        ck_assert_int_eq(batch.count, 0);
        ck_assert_ptr_nonnull(strstr(vst_error_message(), "made: sample 42"));
        ck_assert_ptr_nonnull(strstr(vst_error_message(), data.fails ? "broken on purpose" : "(1, 6, 7)"));
    }
    vst_loader_destroy(loader);
}
END_TEST

/* The loop over batches does not allocate once every worker has loaded a sample. */
START_TEST(no_allocation) {
    made data = make_dataset(1);
    vst_loader_options options = make_options(_i);
    vst_loader *loader;
    vst_batch batch = {.count = 1};
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    const uint64_t before = vst_memory_count();
    for (uint32_t epoch = 0; epoch < 5; epoch++) {
        ck_ok(vst_loader_start(loader, epoch, 0));
        do ck_ok(vst_loader_next(loader, &batch));
        while (batch.count > 0);
    }
    ck_assert_uint_le(vst_memory_count() - before, (uint64_t)(_i ? _i : 1));
    vst_loader_destroy(loader);
}
END_TEST

/* Workers share the parts of a large batch: the same samples, and the first of several errors. */
START_TEST(large_batches) {
    enum { LARGE = 50 };
    static float first[LARGE][SIDE * SIDE];
    made data = make_dataset(1);
    vst_augment *augment;
    ck_ok(vst_augment_create(&augment, "crop:padding=2, flip"));
    for (int workers = 0; workers < 5; workers++) {
        vst_loader_options options = make_options(workers);
        vst_loader *loader;
        vst_batch batch;
        options.augment = augment;
        options.batch = LARGE;
        data.fails = false;
        ck_ok(vst_loader_create(&loader, &data.base, &options));
        for (int round = 0; round < 20; round++) {
            ck_ok(vst_loader_start(loader, 3, 1));
            ck_ok(vst_loader_next(loader, &batch));
            ck_assert_int_eq(batch.count, LARGE);
            if (!workers && !round) memcpy(first, batch.images, sizeof first);
            ck_assert_int_eq(memcmp(first, batch.images, sizeof first), 0);
            ck_ok(vst_loader_next(loader, &batch));
            ck_assert_int_eq(batch.count, 1);
            for (int i = 0; i < batch.count; i++) ck_assert_int_eq(batch.labels[i], (int)batch.samples[i] % 10);
        }
        vst_loader_destroy(loader);
        options.shuffle = false;
        data.fails = true;
        ck_ok(vst_loader_create(&loader, &data.base, &options));
        ck_assert_int_eq(vst_loader_next(loader, &batch), VST_ERROR_FORMAT);
        ck_assert_ptr_nonnull(strstr(vst_error_message(), "made: sample 42"));
        ck_ok(vst_loader_next(loader, &batch));
        ck_assert_uint_eq(batch.samples[0], LARGE);
        vst_loader_destroy(loader);
    }
    vst_augment_destroy(augment);
}
END_TEST

/* The ring is bounded in bytes unless `prefetch` says how long it is. */
START_TEST(ring_is_bounded) {
    made data = make_dataset(1);
    vst_loader_options options = make_options(4);
    const size_t image = 1024 * 1024 * sizeof(float);
    static const struct {
        int batch, prefetch, slots;
    } cases[] = {{1, 0, 5}, {20, 0, 3}, {40, 0, 2}, {20, 3, 4}};
    options.size = 1024;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vst_loader *loader;
        options.batch = cases[i].batch;
        options.prefetch = cases[i].prefetch;
        ck_ok(vst_loader_create(&loader, &data.base, &options));
        ck_assert_uint_eq(vst_loader_bytes(loader) / ((size_t)cases[i].batch * image), (size_t)cases[i].slots);
        vst_loader_destroy(loader);
    }
}
END_TEST

START_TEST(options_are_checked) {
    made data = make_dataset(1);
    vst_loader *loader;
    for (int i = 0; i < 6; i++) {
        static const char *const texts[] = {"batch", "workers", "prefetch", "size", "channels", "less than one batch"};
        vst_loader_options options = make_options(1);
        if (i == 0) options.batch = 0;
        if (i == 1) options.workers = -1;
        if (i == 2) options.prefetch = -1;
        if (i == 3) options.size = 0;
        if (i == 4) options.channels = 2;
        if (i == 5) options.batch = COUNT + 1, options.drop_last = true;
        ck_assert_int_eq(vst_loader_create(&loader, &data.base, &options), VST_ERROR_ARGUMENT);
        ck_assert_ptr_null(loader);
        ck_assert_msg(strstr(vst_error_message(), texts[i]) != NULL, "%s", vst_error_message());
    }
    vst_loader_options options = make_options(1);
    options.drop_last = true;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    ck_assert_uint_eq(vst_loader_steps(loader), STEPS - 1);
    vst_batch batch;
    for (int step = 0; step < STEPS; step++) {
        ck_ok(vst_loader_next(loader, &batch));
        ck_assert_int_eq(batch.count, step < STEPS - 1 ? BATCH : 0);
    }
    vst_loader_destroy(loader);
    vst_loader_destroy(NULL);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("loader");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, workers_do_not_matter);
    tcase_add_loop_test(tests, conversion, 0, 3);
    tcase_add_loop_test(tests, restart, 0, 5);
    tcase_add_test(tests, batch_is_stable);
    tcase_add_loop_test(tests, errors_in_order, 0, 6);
    tcase_add_loop_test(tests, no_allocation, 0, 4);
    tcase_add_test(tests, large_batches);
    tcase_add_test(tests, ring_is_bounded);
    tcase_add_test(tests, options_are_checked);
    return run_suite("loader", tests);
}
