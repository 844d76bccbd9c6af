/* Random images as a data set: models without training get the ranges of their activations from them. */
#include "recipes/bench/internal.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

typedef struct noise {
    vst_dataset base;
    int side;
} noise;

static vst_status read_image(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    const int side = ((const noise *)dataset)->side;
    vst_random random = vst_random_stream(0, vst_random_id("noise"), 0, index);
    const vst_status status = vst_image_allocate(image, dataset->channels, side, side);
    if (status != VST_OK) return status;
    const size_t bytes = (size_t)side * (size_t)side * (size_t)dataset->channels;
    for (size_t i = 0; i < bytes; i++) image->pixels[i] = (uint8_t)vst_random_below(&random, 256);
    *label = -1;
    return VST_OK;
}

static void close_noise(vst_dataset *dataset) { vst_free(dataset); }

vst_status vsti_bench_noise(vst_dataset **out, const vst_model_config *model, uint64_t count) {
    static const vst_dataset_methods methods = {.read = read_image, .close = close_noise};
    const vst_model_common *common = vst_model_common_of(model);
    noise *self = vst_alloc(sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    *self = (noise){{.methods = &methods, .path = "random images", .count = count, .channels = common->channels},
                    common->image};
    *out = &self->base;
    return VST_OK;
}
