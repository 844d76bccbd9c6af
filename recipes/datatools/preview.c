/* Preview: a grid of samples with their class names. */
#include <stdio.h>
#include <string.h>

#include "datasets/augment/augment.h"
#include "recipes/datatools/datatools.h"
#include "vision/base/memory.h"

enum { COUNT_MAX = 1024, CELL = 160, GAP = 4 };

/* Shrinks the image to fit into a cell, replacing blocks of step x step pixels by their mean. */
static void shrink(vst_image *image) {
    const int longer = image->height > image->width ? image->height : image->width, step = (longer + CELL - 1) / CELL;
    if (step <= 1) return;
    const int height = image->height / step > 0 ? image->height / step : 1;
    const int width = image->width / step > 0 ? image->width / step : 1, channels = image->channels;
    for (int y = 0; y < height; y++) /* in place: every block is read before its position is overwritten */
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++) {
                int sum = 0, count = 0;
                for (int v = y * step; v < (y + 1) * step && v < image->height; v++)
                    for (int u = x * step; u < (x + 1) * step && u < image->width; u++, count++)
                        sum +=
                            image
                                ->pixels[((size_t)v * (size_t)image->width + (size_t)u) * (size_t)channels + (size_t)c];
                image->pixels[((size_t)y * (size_t)width + (size_t)x) * (size_t)channels + (size_t)c] =
                    (uint8_t)((sum + count / 2) / count);
            }
    image->height = height;
    image->width = width;
}

static int columns_of(int count) {
    int columns = 1;
    while (columns * columns < count) columns++;
    return columns;
}

/* All images are RGB and fit into a cell. */
static vst_status draw_sheet(const vst_image *images, const char *const *names, int count, vst_image *sheet) {
    int longer = 1;
    for (int i = 0; i < count; i++) {
        if (images[i].height > longer) longer = images[i].height;
        if (images[i].width > longer) longer = images[i].width;
    }
    const int scale = CELL / longer > 0 ? CELL / longer : 1;
    return vst_image_grid(images, names, count, columns_of(count), scale, GAP, sheet);
}

vst_status vst_data_preview(const vst_dataset *dataset, const char *augment, uint64_t seed, int count,
                            vst_image *sheet) {
    vst_status status = VST_OK;
    vst_augment *policies = NULL;
    vst_dataset *view = NULL;
    vst_image *images = NULL;
    const char **names = NULL;
    if (count < 1 || count > COUNT_MAX)
        return vst_fail(VST_ERROR_ARGUMENT, "%d samples to be shown, it must be 1 to %d", count, COUNT_MAX);
    if (vst_dataset_count(dataset) < (uint64_t)count) count = (int)vst_dataset_count(dataset);
    images = vst_calloc((size_t)count, sizeof *images);
    names = vst_calloc((size_t)count, sizeof *names);
    if (!images || !names) VST_TRY(vst_fail_memory((size_t)count * sizeof *images));
    VST_TRY(vst_augment_create(&policies, augment));
    VST_TRY(vst_dataset_sample(dataset, (uint64_t)count, seed, &view));
    for (int i = 0; i < count; i++) {
        uint64_t sample = (uint64_t)i;
        int label;
        VST_TRY(vst_dataset_read_next(view, &sample, &images[i], &label));
        names[i] = vst_dataset_class_name(dataset, label);
        VST_TRY(vst_augment_apply(policies, seed, 0, (uint64_t)i, &images[i]));
        shrink(&images[i]);
        VST_TRY(vst_image_convert(&images[i], 3));
    }
    VST_TRY(draw_sheet(images, names, count, sheet));
out:
    for (int i = 0; images && i < count; i++) vst_image_clear(&images[i]);
    vst_free(images);
    vst_free(names);
    vst_dataset_close(view);
    vst_augment_destroy(policies);
    return status;
}
