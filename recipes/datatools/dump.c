/* Writes the batches of a training to a safetensors file. */
#include <stdio.h>
#include <string.h>

#include "recipes/datatools/datatools.h"
#include "recipes/train/data.h"
#include "vision/base/memory.h"
#include "vision/tensor/safetensors.h"

enum { PARTS = 6, NAME = 32 };

typedef struct dump {
    vst_tensor *tensors;
    char (*names)[NAME]; /* names of the tensors */
    size_t count;
} dump;

/* Adds a tensor and allocates its memory. */
static vst_status add(dump *d, int batch, const char *part, vst_dtype dtype, vst_shape shape, void **data) {
    const size_t bytes = (size_t)vst_shape_count(&shape) * vst_dtype_size(dtype);
    char *name = d->names[d->count];
    if (!(*data = vst_alloc(bytes))) return vst_fail_memory(bytes);
    snprintf(name, NAME, "batch%d.%s", batch, part);
    d->tensors[d->count++] = (vst_tensor){name, dtype, shape, *data};
    return VST_OK;
}

static vst_status copy_floats(dump *d, int batch, const char *part, vst_shape shape, const float *from) {
    void *to;
    const vst_status status = add(d, batch, part, VST_F32, shape, &to);
    if (status == VST_OK) memcpy(to, from, (size_t)vst_shape_count(&shape) * sizeof *from);
    return status;
}

static vst_status copy_batch(dump *d, int index, const vst_batch *b, const vst_model_common *model) {
    vst_status status = VST_OK;
    const int64_t count = b->count, side = model->image;
    void *labels, *samples, *lambda, *box;
    VST_TRY(copy_floats(d, index, "images", VST_SHAPE(count, model->channels, side, side), b->images));
    VST_TRY(copy_floats(d, index, "targets", VST_SHAPE(count, model->classes), b->targets));
    VST_TRY(add(d, index, "labels", VST_I64, VST_SHAPE(count), &labels));
    VST_TRY(add(d, index, "samples", VST_I64, VST_SHAPE(count), &samples));
    VST_TRY(add(d, index, "lambda", VST_F32, VST_SHAPE(count), &lambda));
    VST_TRY(add(d, index, "box", VST_I64, VST_SHAPE(count, 4), &box));
    for (int i = 0; i < b->count; i++) {
        const vst_mix *mix = &b->mixes[i];
        const int64_t corners[4] = {mix->box.top, mix->box.left, mix->box.height, mix->box.width};
        ((int64_t *)labels)[i] = b->labels[i];
        ((int64_t *)samples)[i] = (int64_t)b->samples[i];
        ((float *)lambda)[i] = (float)mix->lambda;
        for (int k = 0; k < 4; k++) ((int64_t *)box)[4 * i + k] = mix->cut ? corners[k] : 0;
    }
out:
    return status;
}

static vst_status write_file(const dump *d, const vst_recipe *recipe, int epoch, const char *path) {
    char epoch_text[16], seed[16];
    const char *augment = recipe->augment.train ? recipe->augment.train : "";
    snprintf(epoch_text, sizeof epoch_text, "%d", epoch);
    snprintf(seed, sizeof seed, "%d", recipe->run.seed);
    const vst_metadata metadata[] = {{"augment.train", augment}, {"epoch", epoch_text}, {"run.seed", seed}};
    return vst_safetensors_write(path, d->tensors, d->count, metadata, sizeof metadata / sizeof *metadata);
}

vst_status vst_data_dump(const vst_recipe *recipe, int epoch, int batches, const char *path, int *written) {
    vst_status status = VST_OK;
    vsti_train_data data = {0};
    dump d = {.tensors = vst_calloc((size_t)batches * PARTS, sizeof *d.tensors),
              .names = vst_calloc((size_t)batches * PARTS, sizeof *d.names)};
    *written = 0;
    if (!d.tensors || !d.names) VST_TRY(vst_fail_memory((size_t)batches * PARTS * sizeof *d.tensors));
    VST_TRY(vsti_train_data_open(&data, recipe));
    VST_TRY(vst_loader_start(data.loader, (uint32_t)epoch, 0));
    for (; *written < batches && (uint64_t)*written < data.steps; ++*written) {
        vst_batch batch;
        VST_TRY(vst_loader_next(data.loader, &batch));
        VST_TRY(copy_batch(&d, *written, &batch, vst_model_common_of(recipe->model)));
    }
    VST_TRY(write_file(&d, recipe, epoch, path));
out:
    for (size_t i = 0; i < d.count; i++) vst_free(d.tensors[i].data);
    vst_free(d.tensors);
    vst_free(d.names);
    vsti_train_data_close(&data);
    return status;
}
