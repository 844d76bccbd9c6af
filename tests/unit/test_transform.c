/* The view of evaluation: timm's pixels, torchvision's centre crop, sizes that must not change anything; conversion to
 * floats. tests/parity/test_eval_transform.sh has it write what the loader makes of a folder: DATA SIZE CROP_PCT FILTER
 * OUTPUT. */
#include <check.h>
#include <stdlib.h>

#include "datasets/loader/loader.h"
#include "datasets/loader/transform.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "tests/unit/timm_view.h"
#include "vision/base/memory.h"

static void fill(vst_image *image, int channels, int height, int width) {
    ck_ok(vst_image_allocate(image, channels, height, width));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                image->pixels[(y * width + x) * channels + c] = (uint8_t)(y * 29 + x * 47 + c * 71 + y * x);
}

static void clear(vst_image *image, vst_image scratch[2]) {
    vst_image_clear(image);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
}

START_TEST(equals_timm) {
    vst_image image = {0}, scratch[2] = {{0}};
    const int size = view_fixtures[_i].size;
    const vst_evaluation_view view = {size, view_fixtures[_i].crop_pct, view_fixtures[_i].filter};
    fill(&image, 3, view_fixtures[_i].height, view_fixtures[_i].width);
    ck_ok(vst_image_evaluation_view(&view, &image, scratch));
    ck_assert(image.height == size && image.width == size && image.channels == 3);
    ck_assert_int_eq(memcmp(image.pixels, view_fixtures[_i].pixels, (size_t)(size * size * 3)), 0);
    clear(&image, scratch);
}
END_TEST

/* What has the model's size stays as it is, without memory for it. */
START_TEST(right_size_is_kept) {
    vst_image image = {0}, scratch[2] = {{0}}, expected = {0};
    const vst_evaluation_view view = {12, _i ? 1 : 0, VST_FILTER_BICUBIC};
    fill(&image, 1, 12, 12);
    fill(&expected, 1, 12, 12);
    const uint64_t before = vst_memory_count();
    ck_ok(vst_image_evaluation_view(&view, &image, scratch));
    ck_assert_uint_eq(vst_memory_count(), before);
    ck_assert_int_eq(memcmp(image.pixels, expected.pixels, 144), 0);
    vst_image_clear(&expected);
    clear(&image, scratch);
}
END_TEST

/* DeiT's code does not resize for inputs of at most 32 pixels, whatever crop_pct is; for 33 it does, and images of
 * another size are always resized. */
START_TEST(small_images_are_not_zoomed) {
    for (int size = 28; size <= 33; size++)
        for (int other = 0; other < 2; other++) {
            vst_image image = {0}, scratch[2] = {{0}}, same = {0};
            const vst_evaluation_view view = {size, 0.875, VST_FILTER_BICUBIC};
            fill(&image, 3, size, size + other);
            fill(&same, 3, size, size + other);
            ck_ok(vst_image_evaluation_view(&view, &image, scratch));
            ck_assert(image.height == size && image.width == size);
            const bool kept = memcmp(image.pixels, same.pixels, (size_t)(size * 3)) == 0; /* the first row */
            ck_assert_msg(kept == (size <= 32 && !other), "%d x %d", size, size + other);
            vst_image_clear(&same);
            clear(&image, scratch);
        }
}
END_TEST

/* int(round(rest / 2)) of 0 … 7 is 0 0 1 2 2 2 3 4; a smaller image is padded, one pixel more at the end. */
START_TEST(centre_crop) {
    static const int halves[] = {0, 0, 1, 2, 2, 2, 3, 4};
    for (int rest = -5; rest < 8; rest++) {
        vst_image image = {0}, scratch[2] = {{0}}, all = {0};
        const int height = 9 + rest, width = 8;
        fill(&image, 3, height, width);
        fill(&all, 3, height, width);
        ck_ok(vst_image_centre_crop(&image, 9, 6, &scratch[0]));
        ck_assert(image.height == 9 && image.width == 6);
        const int top = rest >= 0 ? halves[rest] : -(-rest / 2), left = 1;
        for (int y = 0; y < 9; y++)
            for (int x = 0; x < 6 * 3; x++) {
                const int from = y + top;
                const uint8_t wanted = from < 0 || from >= height ? 0 : all.pixels[from * width * 3 + left * 3 + x];
                ck_assert_msg(image.pixels[y * 18 + x] == wanted, "rest %d, (%d, %d)", rest, y, x);
            }
        vst_image_clear(&all);
        clear(&image, scratch);
    }
}
END_TEST

START_TEST(narrow_image_is_refused) {
    vst_image image = {0}, scratch[2] = {{0}};
    const vst_evaluation_view view = {224, 0.875, VST_FILTER_BICUBIC};
    fill(&image, 1, 1, 1000);
    ck_assert_int_eq(vst_image_evaluation_view(&view, &image, scratch), VST_ERROR_LIMIT);
    ck_assert_ptr_nonnull(strstr(
        vst_error_message(), "an image of 1 x 1000 pixels (height x width) is too narrow: resized to 256 x 256000"));
    clear(&image, scratch);
}
END_TEST

START_TEST(floats) {
    for (int channels = 1; channels <= 3; channels += 2) {
        vst_image image = {0};
        float *out = malloc(256 * 3 * sizeof *out);
        ck_assert_ptr_nonnull(out);
        ck_ok(vst_image_allocate(&image, channels, 16, 16));
        for (int i = 0; i < 256 * channels; i++) image.pixels[i] = (uint8_t)(i / channels + 100 * (i % channels));
        vst_image_to_floats(&image, out);
        for (int c = 0; c < channels; c++)
            for (int i = 0; i < 256; i++) {
                volatile float value = (uint8_t)(i + 100 * c), all = 255; /* divided here and now */
                ck_assert_float_eq(out[c * 256 + i], value / all);
            }
        free(out);
        vst_image_clear(&image);
    }
}
END_TEST

static int write_views(char **arguments) {
    vst_dataset *dataset;
    vst_loader *loader;
    vst_batch batch;
    FILE *out = fopen(arguments[4], "wb");
    const vst_loader_options options = {.batch = 4,
                                        .workers = 2,
                                        .channels = 3,
                                        .size = atoi(arguments[1]),
                                        .evaluation = true,
                                        .crop_pct = atof(arguments[2]),
                                        .filter = (vst_filter)atoi(arguments[3])};
    bool ok = out && vst_dataset_open(&dataset, arguments[0], "test", &(vst_dataset_options){.channels = 3}) == VST_OK;
    if (ok) ok = vst_loader_create(&loader, dataset, &options) == VST_OK;
    do {
        ok = ok && vst_loader_next(loader, &batch) == VST_OK;
        const size_t values = ok ? (size_t)(batch.count * 3 * options.size * options.size) : 0;
        ok = ok && fwrite(batch.images, sizeof(float), values, out) == values;
    } while (ok && batch.count > 0);
    if (!ok) fprintf(stderr, "%s\n", vst_error_message());
    else vst_loader_destroy(loader), vst_dataset_close(dataset), ok = fclose(out) == 0;
    return !ok;
}

int main(int count, char **arguments) {
    if (count == 6) return write_views(arguments + 1);
    TCase *tests = tcase_create("transform");
    tcase_add_loop_test(tests, equals_timm, 0, (int)(sizeof view_fixtures / sizeof *view_fixtures));
    tcase_add_loop_test(tests, right_size_is_kept, 0, 2);
    tcase_add_test(tests, small_images_are_not_zoomed);
    tcase_add_test(tests, centre_crop);
    tcase_add_test(tests, narrow_image_is_refused);
    tcase_add_test(tests, floats);
    return run_suite("transform", tests);
}
