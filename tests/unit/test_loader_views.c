/* Views of image files in the loader: partial decoding, evaluation transform, repeated augmentation and its order,
 * mixed batches and targets; independent of the number of workers and of the start position. The data set is JPEGs in
 * memory. */
#include <check.h>
#include <math.h>
#include <stdbool.h>

#include "datasets/loader/loader.h"
#include "datasets/loader/sample.h"
#include "datasets/loader/transform.h"
#include "tests/unit/data_files.h"
#include "tests/unit/jpeg_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"
#include "vision/image/geometry.h"

#define MIXING(mixup_alpha, cutmix_alpha, share, cut_share)                                                 \
    (vst_mix_options) {                                                                                     \
        .mixup = mixup_alpha, .cutmix = cutmix_alpha, .probability = share, .switch_probability = cut_share \
    }

enum { COUNT = 42, BATCH = 8, SIZE = 24, FLOATS = 3 * SIZE * SIZE, CLASSES = 5 };

typedef struct files {
    vst_dataset base;
    uint8_t *bytes[COUNT];
    size_t sizes[COUNT];
} files;

static vst_status read_bytes(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label) {
    const files *self = (const files *)dataset;
    const vst_status status = vst_bytes_resize(bytes, self->sizes[index]);
    if (status != VST_OK) return status;
    memcpy(bytes->data, self->bytes[index], self->sizes[index]);
    *label = (int)index % CLASSES;
    return VST_OK;
}

static const vst_dataset_methods methods = {.read_bytes = read_bytes};
static files data;

/* All sizes differ, from half to three times the requested one; every second file has 4:2:0 chroma. */
static void make_files(void) {
    data = (files){.base = {.methods = &methods, .path = "files", .count = COUNT, .channels = 3, .classes = CLASSES}};
    for (int i = 0; i < COUNT; i++)
        data.bytes[i] = make_jpeg(&jpeg_kinds[i % 2 ? 3 : 11 * (i % 3 == 0)], 12 + i * 37 % 61, 12 + i * 53 % 67, 80,
                                  &data.sizes[i]);
}

static void free_files(void) {
    for (int i = 0; i < COUNT; i++) free(data.bytes[i]);
}

static vst_loader_options make_options(int workers) {
    return (vst_loader_options){.batch = BATCH,
                                .workers = workers,
                                .shuffle = true,
                                .drop_last = true,
                                .seed = 11,
                                .channels = 3,
                                .size = SIZE,
                                .mean = {0.5, 0.4, 0.3},
                                .std = {0.2, 0.3, 0.25}};
}

static vst_augment *augment_of(const char *text) {
    vst_augment *augment;
    ck_ok(vst_augment_create(&augment, text));
    return augment;
}

typedef struct kept {
    int count, labels[BATCH];
    uint64_t samples[BATCH];
    float images[BATCH * FLOATS], targets[BATCH * CLASSES];
    double lambda;
} kept;

enum { KEPT = 10 };

/* Copies the batches from `step` of the epoch on; returns their number. */
static int run(const vst_loader_options *options, uint32_t epoch, uint64_t step, kept out[KEPT]) {
    vst_loader *loader;
    vst_batch batch;
    int steps = 0;
    memset(out, 0, KEPT * sizeof *out);
    ck_ok(vst_loader_create(&loader, &data.base, options));
    ck_ok(vst_loader_start(loader, epoch, step));
    for (;; steps++) {
        ck_ok(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        ck_assert_int_lt(steps, KEPT);
        out[steps].count = batch.count;
        out[steps].lambda = batch.mixes[0].lambda;
        memcpy(out[steps].labels, batch.labels, (size_t)batch.count * sizeof *batch.labels);
        memcpy(out[steps].samples, batch.samples, (size_t)batch.count * sizeof *batch.samples);
        memcpy(out[steps].images, batch.images, (size_t)(batch.count * FLOATS) * sizeof *batch.images);
        ck_assert((batch.targets != NULL) == (options->targets.classes > 0));
        if (batch.targets)
            memcpy(out[steps].targets, batch.targets, (size_t)(batch.count * CLASSES) * sizeof *batch.targets);
    }
    ck_assert_uint_eq((uint64_t)steps + step, vst_loader_steps(loader));
    vst_loader_destroy(loader);
    return steps;
}

#define DEIT "random_resized_crop:size=24, flip, rand_augment, random_erasing:probability=0.7"

/* Checks a sample against decoding the whole file. */
static void expect_sample(const vst_loader_options *o, uint32_t epoch, uint64_t sample, uint32_t copy,
                          float out[FLOATS]) {
    vst_image image = {0};
    vst_augment_scratch scratch = {0};
    vst_augment_state state;
    vst_box part;
    int label;
    ck_ok(vst_dataset_read(&data.base, sample, &image, &label));
    vst_augment_begin(o->augment, (vst_augment_view){o->seed, sample, epoch, copy}, image.height, image.width, &state,
                      &part);
    ck_ok(vst_image_crop(&image, part, &image));
    ck_ok(vst_augment_image(o->augment, &state, &image, &scratch));
    ck_assert(image.height == SIZE && image.width == SIZE);
    vst_image_to_floats(&image, out);
    vst_augment_finish(o->augment, &state, &(vst_augment_floats){out, 3, SIZE, SIZE, o->mean, o->std});
    vst_augment_scratch_clear(&scratch);
    vst_image_clear(&image);
}

/* ---- Images ---- */

/* Decoding only the crop gives the pixels of a full decode, also with erasing, mixing and targets; workers and start
 * position do not matter. */
START_TEST(training_views) {
    static const int workers[] = {0, 1, 2, 7};
    static kept first[KEPT], other[KEPT];
    vst_augment *augment = augment_of(DEIT);
    vst_loader_options options = make_options(0);
    options.augment = augment;
    options.targets = (vst_target_options){CLASSES, 0.1, UINT64_MAX};
    const int steps = run(&options, 3, 0, first);
    ck_assert_int_eq(steps, COUNT / BATCH);
    for (int step = 0; step < steps; step++)
        for (int i = 0; i < BATCH; i++) {
            float expected[FLOATS];
            expect_sample(&options, 3, first[step].samples[i], 0, expected);
            ck_assert_msg(memcmp(expected, first[step].images + i * FLOATS, sizeof expected) == 0, "sample %d",
                          (int)first[step].samples[i]);
        }
    for (int mixing = 0; mixing < 2; mixing++) {
        if (mixing) options.mix = MIXING(0.8, 1, 0.9, 0.5), options.repeats = 3;
        options.workers = 0;
        run(&options, 3, 0, first);
        for (int i = 1; i < 4; i++) {
            options.workers = workers[i];
            ck_assert_int_eq(run(&options, 3, 0, other), steps);
            ck_assert_int_eq(memcmp(first, other, sizeof first), 0);
            const int rest = run(&options, 3, 2, other);
            ck_assert_int_eq(rest, steps - 2);
            ck_assert_int_eq(memcmp(first + 2, other, (size_t)rest * sizeof *other), 0);
        }
        run(&options, 4, 0, other);
        ck_assert_int_ne(memcmp(first, other, sizeof first), 0);
    }
    vst_augment_destroy(augment);
}
END_TEST

/* With two views epoch 3 has the views of epoch 1 in another order. */
START_TEST(views_repeat) {
    static kept batches[KEPT];
    vst_augment *augment = augment_of(DEIT);
    vst_loader_options options = make_options(1);
    options.augment = augment;
    const uint64_t id = vst_view_id(&options);
    options.views = 2;
    ck_assert_uint_eq(vst_view_id(&options), id); /* the id does not depend on the number of views */
    for (uint32_t epoch = 1; epoch < 4; epoch++) {
        const int steps = run(&options, epoch, 0, batches);
        for (int i = 0; i < steps * BATCH; i++) {
            const kept *batch = &batches[i / BATCH];
            float expected[FLOATS];
            expect_sample(&options, epoch % 2, batch->samples[i % BATCH], 0, expected);
            ck_assert_int_eq(memcmp(expected, batch->images + i % BATCH * FLOATS, sizeof expected), 0);
        }
    }
    vst_augment_destroy(augment);
}
END_TEST

/* A policy with `crop` that is not the first gets the whole image and uses the same random numbers as alone. */
START_TEST(later_crop) {
    static kept batches[KEPT];
    vst_augment *augment = augment_of("flip:probability=1, random_resized_crop:size=24"),
                *crop = augment_of("random_resized_crop:size=24");
    vst_loader_options options = make_options(1);
    options.augment = augment;
    run(&options, 0, 0, batches);
    for (int i = 0; i < BATCH; i++) {
        vst_image image = {0};
        float expected[FLOATS];
        int label;
        ck_ok(vst_dataset_read(&data.base, batches[1].samples[i], &image, &label));
        vst_image_flip(&image);
        ck_ok(vst_augment_apply(crop, 11, 0, batches[1].samples[i], &image));
        vst_image_to_floats(&image, expected);
        ck_assert_int_eq(memcmp(expected, batches[1].images + i * FLOATS, sizeof expected), 0);
        vst_image_clear(&image);
    }
    vst_augment_destroy(augment);
    vst_augment_destroy(crop);
}
END_TEST

START_TEST(float_policies_come_last) {
    vst_augment *augment;
    ck_assert_int_eq(vst_augment_create(&augment, "random_erasing, flip"), VST_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "put flip before it"));
    vst_augment_destroy(augment_of("flip, random_erasing, random_erasing"));
}
END_TEST

/* Decoding at reduced size gives other pixels, but a similar image. */
START_TEST(fast_decode) {
    static kept exact[KEPT], fast[KEPT];
    vst_augment *augment = augment_of("random_resized_crop:size=24:scale_min=0.9");
    vst_loader_options options = make_options(0);
    double difference = 0, pixels = 0;
    options.augment = augment;
    const int steps = run(&options, 0, 0, exact);
    options.fast_decode = true;
    ck_assert_int_eq(run(&options, 0, 0, fast), steps);
    for (int step = 0; step < steps; step++)
        for (int i = 0; i < BATCH * FLOATS; i++, pixels++)
            difference += fabsf(exact[step].images[i] - fast[step].images[i]);
    ck_assert_double_gt(difference / pixels, 0);
    ck_assert_double_lt(difference / pixels, 0.03);
    vst_augment_destroy(augment);
}
END_TEST

/* All samples in order, as the evaluation transform gives them for the whole image. */
START_TEST(evaluation_view) {
    static kept batches[KEPT];
    vst_loader_options options = make_options(_i);
    const vst_evaluation_view view = {SIZE, 0.875, VST_FILTER_BILINEAR};
    options.shuffle = options.drop_last = false;
    options.evaluation = true;
    options.crop_pct = view.crop_pct;
    options.filter = view.filter;
    ck_assert_int_eq(run(&options, 0, 0, batches), COUNT / BATCH + 1);
    for (int i = 0; i < COUNT; i++) {
        vst_image image = {0}, scratch[2] = {{0}};
        float expected[FLOATS];
        int label;
        ck_ok(vst_dataset_read(&data.base, (uint64_t)i, &image, &label));
        ck_ok(vst_image_evaluation_view(&view, &image, scratch));
        vst_image_to_floats(&image, expected);
        ck_assert_uint_eq(batches[i / BATCH].samples[i % BATCH], (uint64_t)i);
        ck_assert_int_eq(memcmp(expected, batches[i / BATCH].images + i % BATCH * FLOATS, sizeof expected), 0);
        vst_image_clear(&image);
        for (int k = 0; k < 2; k++) vst_image_clear(&scratch[k]);
    }
}
END_TEST

/* An image of another size is an error that says what to do; a truncated one is named. */
/* A decoded image, which is not changed, gives the same as its file, in training and in evaluation. */
START_TEST(decoded_pictures) {
    static float from_file[FLOATS], from_picture[FLOATS];
    vsti_sample_memory memory = {0};
    vst_image picture = {0}, before = {0};
    vst_loader_options o = make_options(0);
    vst_augment *augment = augment_of("random_resized_crop:size=24, flip, rand_augment, random_erasing:probability=1");
    o.augment = _i ? NULL : augment;
    o.evaluation = _i;
    o.crop_pct = 0.9;
    o.filter = VST_FILTER_BICUBIC;
    for (uint64_t i = 0; i < COUNT; i++) {
        const vst_augment_view view = {.seed = 5, .sample = i, .epoch = 2};
        int label;
        ck_ok(vst_image_decode(data.bytes[i], data.sizes[i], &(vst_decode_options){.channels = 3}, &picture, NULL));
        ck_ok(vst_image_turn(&picture, 1, &before));
        ck_ok(vsti_sample_load(&data.base, &o, view, &memory, from_file, &label));
        ck_ok(vsti_sample_transform(&picture, &o, view, &memory, from_picture));
        ck_assert_mem_eq(from_file, from_picture, sizeof from_file);
        ck_assert_mem_eq(picture.pixels, before.pixels, (size_t)(3 * before.height * before.width));
    }
    vst_augment_destroy(augment);
    vsti_sample_memory_clear(&memory);
    vst_image_clear(&picture);
    vst_image_clear(&before);
}
END_TEST

START_TEST(errors) {
    vst_loader_options options = make_options(0);
    vst_augment *augment = augment_of(DEIT);
    vst_loader *loader;
    vst_batch batch;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    ck_assert_int_eq(vst_loader_next(loader, &batch), VST_ERROR_SHAPE);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "files: sample "));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "random_resized_crop:size=24"));
    vst_loader_destroy(loader);
    for (int i = 0; i < COUNT; i++) data.sizes[i] = 150;
    options.augment = augment;
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    ck_assert_int_eq(vst_loader_next(loader, &batch), VST_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "files: sample "));
    vst_loader_destroy(loader);
    vst_augment_destroy(augment);
}
END_TEST

/* After warming up, an epoch allocates only the decoder's rows: buffers, which policies swap, have reached their size.
 */
START_TEST(no_allocation) {
    vst_augment *augment = augment_of(DEIT);
    vst_loader_options options = make_options(0);
    vst_loader *loader;
    vst_batch batch = {.count = 1};
    uint64_t before = 0;
    options.augment = augment;
    options.mix = MIXING(0.8, 1, 1, 0.5);
    options.targets = (vst_target_options){CLASSES, 0.1, UINT64_MAX};
    ck_ok(vst_loader_create(&loader, &data.base, &options));
    ck_assert_uint_eq(vst_loader_bytes(loader),
                      BATCH * (FLOATS * 4 + CLASSES * 4 + sizeof(int) + sizeof(uint64_t) + sizeof(vst_mix)));
    for (int pass = 0; pass < 4; pass++) {
        before = vst_memory_count();
        ck_ok(vst_loader_start(loader, 0, 0));
        do ck_ok(vst_loader_next(loader, &batch));
        while (batch.count > 0);
    }
    ck_assert_uint_le(vst_memory_count() - before, COUNT / BATCH * BATCH);
    vst_loader_destroy(loader);
    vst_augment_destroy(augment);
}
END_TEST

/* If any allocation fails, the batch or the loader fails for lack of memory, and the next attempt succeeds. */
START_TEST(allocation_failures) {
    vst_augment *augment = augment_of(DEIT);
    vst_loader_options options = make_options(0);
    int refused = 0;
    options.augment = augment;
    options.mix = MIXING(0.8, 1, 1, 0.5);
    options.targets = (vst_target_options){CLASSES, 0.1, UINT64_MAX};
    for (uint64_t n = 1; n < 40; n++) {
        vst_loader *loader;
        vst_batch batch;
        vst_memory_fail_at(n);
        vst_status status = vst_loader_create(&loader, &data.base, &options);
        if (status == VST_OK) status = vst_loader_next(loader, &batch);
        vst_memory_fail_at(0);
        ck_assert_msg(status == VST_OK || status == VST_ERROR_MEMORY, "allocation %d: %s", (int)n, vst_error_message());
        refused += status != VST_OK;
        vst_loader_destroy(loader);
    }
    ck_assert_int_gt(refused, 15);
    vst_augment_destroy(augment);
}
END_TEST

/* ---- Order ---- */

/* Over all processes: equal numbers of positions; samples / repeats samples, each `repeats` times with every copy once,
 * except for the remainder; adjacent in the common order, as in RASampler. */
START_TEST(order_of_repeats) {
    enum { SAMPLES = 101 };
    for (int repeats = 1; repeats <= 4; repeats++)
        for (int world = 1; world <= 7; world++) {
            int copies[SAMPLES] = {0}, different = 0;
            uint64_t total = 0;
            vst_order common = {.samples = SAMPLES, .seed = 5, .shuffle = true, .repeats = repeats};
            for (int rank = 0; rank < world; rank++) {
                vst_order order = common;
                order.rank = rank;
                order.world = world;
                const uint64_t count = vst_order_count(&order);
                ck_assert_uint_eq(count, (uint64_t)(SAMPLES / repeats * repeats / world));
                total += count;
                for (uint64_t i = 0; i < count; i++) {
                    const vst_place place = vst_order_at(&order, 2, i),
                                    same = vst_order_at(&common, 2, i * (uint64_t)world + (uint64_t)rank);
                    ck_assert(place.sample == same.sample && place.copy == same.copy);
                    ck_assert(place.sample < SAMPLES && place.copy < (uint32_t)repeats);
                    ck_assert(!(copies[place.sample] & 1 << place.copy));
                    copies[place.sample] |= 1 << place.copy;
                }
            }
            for (int i = 0; i < SAMPLES; i++) different += copies[i] != 0;
            ck_assert_int_eq(different, (int)((total + (uint64_t)repeats - 1) / (uint64_t)repeats));
            for (uint64_t i = 0; i < total; i++) {
                const vst_place place = vst_order_at(&common, 2, i);
                ck_assert_uint_eq(place.copy, i % (uint64_t)repeats);
                ck_assert_uint_eq(place.sample, vst_order_at(&common, 2, i - place.copy).sample);
            }
        }
}
END_TEST

/* Copies of a sample are augmented differently, depending on the copy; two processes together have the samples of one.
 */
START_TEST(repeated_samples) {
    static kept one[KEPT], half[2][KEPT];
    vst_augment *augment = augment_of("random_resized_crop:size=24");
    vst_loader_options options = make_options(1);
    options.augment = augment;
    options.repeats = 3;
    ck_assert_int_eq(run(&options, 1, 0, one), 5);
    for (int i = 0; i < 5 * BATCH; i++) {
        const kept *batch = &one[i / BATCH], *group = &one[i / 3 * 3 / BATCH];
        const float *image = batch->images + i % BATCH * FLOATS, *begin = group->images + i / 3 * 3 % BATCH * FLOATS;
        float expected[FLOATS];
        ck_assert_uint_eq(batch->samples[i % BATCH], group->samples[i / 3 * 3 % BATCH]);
        expect_sample(&options, 1, batch->samples[i % BATCH], (uint32_t)(i % 3), expected);
        ck_assert_int_eq(memcmp(image, expected, sizeof expected), 0);
        if (i % 3) ck_assert_int_ne(memcmp(image, begin, sizeof expected), 0);
    }
    options.world = 2;
    options.batch = BATCH / 2;
    for (options.rank = 0; options.rank < 2; options.rank++)
        ck_assert_int_eq(run(&options, 1, 0, half[options.rank]), 5);
    for (int i = 0; i < 5 * BATCH; i++) {
        const kept *part = &half[i % 2][i / BATCH];
        ck_assert_uint_eq(part->samples[i % BATCH / 2], one[i / BATCH].samples[i % BATCH]);
        ck_assert_int_eq(memcmp(part->images + i % BATCH / 2 * FLOATS, one[i / BATCH].images + i % BATCH * FLOATS,
                                FLOATS * sizeof(float)),
                         0);
    }
    vst_augment_destroy(augment);
}
END_TEST

/* ---- Mixing ---- */

START_TEST(mixed_batches) {
    static kept plain[KEPT], mixed[KEPT];
    vst_augment *augment = augment_of("random_resized_crop:size=24");
    vst_loader_options options = make_options(2);
    int changed = 0;
    options.augment = augment;
    options.targets = (vst_target_options){CLASSES, 0.1, UINT64_MAX};
    const int steps = run(&options, 1, 0, plain);
    options.mix = MIXING(0.8, 1, 0.8, 0.5);
    ck_assert_int_eq(run(&options, 1, 0, mixed), steps);
    for (int step = 0; step < steps; step++) {
        vst_mix mixes[BATCH];
        vst_mix_draw(&options.mix, options.seed, 1, (uint64_t)step, SIZE, SIZE, mixes, BATCH);
        changed += memcmp(plain[step].images, mixed[step].images, sizeof plain->images) != 0;
        ck_assert(plain[step].lambda == 1 && mixed[step].lambda == mixes[0].lambda);
        vst_mix_images(mixes, plain[step].images, BATCH, 3, SIZE, SIZE);
        vst_mix_targets(mixes, plain[step].targets, BATCH, CLASSES);
        ck_assert_int_eq(memcmp(plain[step].images, mixed[step].images, sizeof plain->images), 0);
        ck_assert_int_eq(memcmp(plain[step].targets, mixed[step].targets, sizeof plain->targets), 0);
        ck_assert_int_eq(memcmp(plain[step].labels, mixed[step].labels, sizeof plain->labels), 0);
    }
    ck_assert_int_gt(changed, 1);
    vst_augment_destroy(augment);
}
END_TEST

START_TEST(options_are_checked) {
    static const char *const texts[] = {"must be even", "must be even", "no augmentation",
                                        "3 processes",  "rank",         "repeats"};
    vst_augment *augment = augment_of("flip");
    for (int i = 0; i < 6; i++) {
        vst_loader_options options = make_options(0);
        vst_loader *loader;
        if (i == 0) options.mix = MIXING(0.8, 0, 1, 0), options.batch = 7;
        if (i == 1) options.mix = MIXING(0, 1, 1, 0), options.drop_last = false;
        if (i == 2) options.evaluation = true, options.augment = augment;
        if (i == 3) options.world = 3, options.drop_last = false;
        if (i == 4) options.world = 3, options.rank = 3;
        if (i == 5) options.repeats = -1;
        ck_assert_int_eq(vst_loader_create(&loader, &data.base, &options), VST_ERROR_ARGUMENT);
        ck_assert_msg(strstr(vst_error_message(), texts[i]) != NULL, "%s", vst_error_message());
    }
    vst_augment_destroy(augment);
}
END_TEST

/* ---- The name of a view ---- */

START_TEST(view_ids) {
    vst_augment *crop = augment_of("crop"), *same = augment_of(" crop : padding = 4"),
                *other = augment_of("crop:padding=3");
    uint64_t ids[12];
    for (int i = 0; i < 12; i++) {
        vst_loader_options options = make_options(1);
        options.augment = i == 1 ? other : i == 2 ? NULL : crop;
        if (i == 3) options.seed = 12;
        if (i == 4) options.size = 23;
        if (i == 5) options.repeats = 2;
        if (i == 6) options.fast_decode = true;
        if (i == 7) options.mean[2] = 0.1;
        if (i == 8) options.mix = MIXING(0.8, 0, 1, 0.5);
        if (i == 9) options.mix = MIXING(0.8, 0, 1, 0.5), options.batch = 4;
        if (i == 10) options.channels = 1;
        if (i == 11) options.evaluation = true;
        ids[i] = vst_view_id(&options);
        for (int k = 0; k < i; k++) ck_assert_msg(ids[i] != ids[k], "%d as %d", i, k);
    }
    vst_loader_options options = make_options(7);
    options.augment = same;
    options.prefetch = 3;
    options.batch = 4; /* without mixing the batch does not change the views */
    ck_assert_uint_eq(vst_view_id(&options), ids[0]);
    vst_augment_destroy(crop);
    vst_augment_destroy(same);
    vst_augment_destroy(other);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("loader's views");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, make_files, free_files);
    tcase_add_test(tests, training_views);
    tcase_add_test(tests, views_repeat);
    tcase_add_test(tests, later_crop);
    tcase_add_test(tests, float_policies_come_last);
    tcase_add_test(tests, fast_decode);
    tcase_add_loop_test(tests, evaluation_view, 0, 3);
    tcase_add_loop_test(tests, decoded_pictures, 0, 2);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, no_allocation);
    tcase_add_test(tests, allocation_failures);
    tcase_add_test(tests, order_of_repeats);
    tcase_add_test(tests, repeated_samples);
    tcase_add_test(tests, mixed_batches);
    tcase_add_test(tests, options_are_checked);
    tcase_add_test(tests, view_ids);
    return run_suite("loader's views", tests);
}
