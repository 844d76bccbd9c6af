/* samples.png: the first augmented training images with their classes. */
#include "recipes/train/samples.h"

#include <stdio.h>

enum { SAMPLES = 32, SAMPLE_COLUMNS = 8, CAPTION = 256 };

static vst_status to_image(const float *planes, int channels, int size, vst_image *image) {
    vst_status status = vst_image_allocate(image, channels, size, size);
    if (status != VST_OK) return status;
    const size_t area = (size_t)size * (size_t)size;
    for (size_t i = 0; i < area; i++)
        for (size_t c = 0; c < (size_t)channels; c++) {
            const float value = planes[c * area + i] * 255 + 0.5f;
            image->pixels[i * (size_t)channels + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    return VST_OK;
}

/* "cat", or "cat + dog" for a mixed image; NULL without a label. */
static const char *caption(const vsti_trainer *t, const vst_batch *batch, int i, char text[CAPTION]) {
    const int label = batch->labels[i], other = batch->labels[batch->count - 1 - i];
    if (label < 0) return NULL;
    const bool mixed = batch->mixes[i].lambda < 1 && other >= 0 && other != label;
    snprintf(text, CAPTION, "%s%s%s", t->data.classes.names[label], mixed ? " + " : "",
             mixed ? t->data.classes.names[other] : "");
    return text;
}

vst_status vsti_write_samples(vsti_trainer *t) {
    vst_status status = VST_OK;
    const vst_model_common *common = vst_model_common_of(t->recipe->model);
    vst_image images[SAMPLES] = {{0}}, sheet = {0};
    vst_batch batch;
    char path[VSTI_PATH], texts[SAMPLES][CAPTION];
    const char *captions[SAMPLES];
    if (common->channels != 1 && common->channels != 3) return VST_OK; /* cannot be drawn */
    VST_TRY(vsti_run_folder_file(&t->folder, "samples.png", path));
    VST_TRY(vst_loader_start(t->data.loader, 0, 0));
    VST_TRY(vst_loader_next(t->data.loader, &batch));
    const int count = batch.count < SAMPLES ? batch.count : SAMPLES,
              scale = common->image < 64 ? 96 / common->image : 1;
    for (int i = 0; i < count; i++) captions[i] = caption(t, &batch, i, texts[i]);
    for (int i = 0; i < count; i++)
        VST_TRY(
            to_image(batch.images + (size_t)i * t->student.image_floats, common->channels, common->image, &images[i]));
    VST_TRY(vst_image_grid(images, captions, count, SAMPLE_COLUMNS, scale < 1 ? 1 : scale, 2, &sheet));
    VST_TRY(vst_png_write(path, &sheet));
out:
    for (int i = 0; i < SAMPLES; i++) vst_image_clear(&images[i]);
    vst_image_clear(&sheet);
    return status;
}
