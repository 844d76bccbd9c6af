/* Loads one sample and converts it to floats. Decodes only the part of an image file that the first policy or the
 * evaluation transform needs. */
#include "datasets/loader/sample.h"

#include <limits.h>

#include "datasets/loader/transform.h"
#include "vision/image/decode.h"
#include "vision/image/geometry.h"
#include "vision/image/resize.h"

/* Buffers above this size are freed after each sample, so that one large image does not occupy memory for the whole
 * training. */
enum { KEEP_BYTES = 32 << 20 };

void vsti_sample_memory_clear(vsti_sample_memory *memory) {
    vst_bytes_clear(&memory->bytes);
    vst_image_clear(&memory->image);
    vst_augment_scratch_clear(&memory->scratch);
}

static void trim_image(vst_image *image) {
    if (image->capacity > KEEP_BYTES) vst_image_clear(image);
}

static void trim(vsti_sample_memory *memory) {
    if (memory->bytes.capacity > KEEP_BYTES) vst_bytes_clear(&memory->bytes);
    trim_image(&memory->image);
    for (int i = 0; i < VST_AUGMENT_SCRATCH; i++) trim_image(&memory->scratch.images[i]);
}

typedef struct request {
    const vst_dataset *dataset;
    const vst_loader_options *options;
    vst_augment_view view;
    vsti_sample_memory *memory;
    vst_augment_state state;
    vst_evaluation_view evaluation; /* with options->evaluation */
    vst_resize_window window;       /* window of the evaluation transform */
} request;

static request request_of(const vst_dataset *dataset, const vst_loader_options *options, vst_augment_view view,
                          vsti_sample_memory *memory) {
    return (request){
        dataset, options, view, memory, {.view = view}, {options->size, options->crop_pct, options->filter}, {0}};
}

/* Adds the data set and the sample to the error message. */
static vst_status name_sample(vst_status status, const request *r) {
    char name[PATH_MAX];
    if (status == VST_OK) return status;
    return vst_fail_in(status, "%s: %s", vst_dataset_path(r->dataset),
                       vst_dataset_sample_name(r->dataset, r->view.sample, name, sizeof name));
}

/* Computes which part of an image of the given size is needed. */
static vst_status choose_part(request *r, int height, int width, vst_box *part) {
    if (r->options->evaluation) return vst_evaluation_begin(&r->evaluation, height, width, &r->window, part);
    vst_augment_begin(r->options->augment, r->view, height, width, &r->state, part);
    return VST_OK;
}

static vst_status decode(request *r) {
    vst_status status = VST_OK;
    const vst_bytes *bytes = &r->memory->bytes;
    vst_image_facts facts = {0};
    vst_box part;
    vst_decode_options options = {.channels = vst_dataset_channels(r->dataset),
                                  .limits = vst_dataset_limits(r->dataset)};
    const bool crops = vst_augment_has_crop(r->options->augment);
    if (crops || r->options->evaluation) {
        VST_TRY(vst_image_inspect(bytes->data, bytes->size, options.limits, &facts));
        options.crop = &part;
    }
    VST_TRY(choose_part(r, facts.height, facts.width, &part));
    if (crops && r->options->fast_decode) options.least_height = options.least_width = r->options->size;
    VST_TRY(vst_image_decode(bytes->data, bytes->size, &options, &r->memory->image, NULL));
out:
    return status;
}

/* Copies the needed part of a decoded image to `image`, which may be the same image. */
static vst_status crop_part(request *r, const vst_image *picture, vst_image *image) {
    vst_box part;
    const vst_status status = choose_part(r, picture->height, picture->width, &part);
    return status == VST_OK ? vst_image_crop(picture, part, image) : status;
}

static vst_status fetch(request *r, int *label) {
    vst_image *image = &r->memory->image;
    if (vst_dataset_encoded(r->dataset)) {
        const vst_status status = vst_dataset_read_bytes(r->dataset, r->view.sample, &r->memory->bytes, label);
        return status == VST_OK ? name_sample(decode(r), r) : status; /* `status` names the sample already */
    }
    const vst_status status = vst_dataset_read(r->dataset, r->view.sample, image, label);
    return status == VST_OK ? name_sample(crop_part(r, image, image), r) : status;
}

static vst_status check_shape(const vst_loader_options *options, const vst_image *image) {
    if (image->channels == options->channels && image->height == options->size && image->width == options->size)
        return VST_OK;
    return vst_fail(
        VST_ERROR_SHAPE,
        "the image has the shape (%d, %d, %d) (channels, height, width), the model needs (%d, %d, %d): set model.image "
        "and model.channels, or crop or resize images, such as with augment.train = random_resized_crop:size=%d",
        image->channels, image->height, image->width, options->channels, options->size, options->size, options->size);
}

static vst_status transform(request *r) {
    const vst_loader_options *options = r->options;
    vst_image *image = &r->memory->image;
    vst_status status = vst_augment_image(options->augment, &r->state, image, &r->memory->scratch);
    if (status == VST_OK && options->evaluation)
        status = vst_evaluation_finish(&r->evaluation, &r->window, image, r->memory->scratch.images);
    return status == VST_OK ? check_shape(options, image) : status;
}

static vst_status to_floats(request *r, float *pixels) {
    const vst_loader_options *o = r->options;
    const vst_augment_floats floats = {pixels, o->channels, o->size, o->size, o->mean, o->std};
    vst_status status = VST_OK;
    VST_TRY(transform(r));
    vst_image_to_floats(&r->memory->image, pixels);
    vst_augment_finish(o->augment, &r->state, &floats);
out:
    return status;
}

vst_status vsti_sample_transform(const vst_image *picture, const vst_loader_options *options, vst_augment_view view,
                                 vsti_sample_memory *memory, float *pixels) {
    request r = request_of(NULL, options, view, memory);
    vst_status status = VST_OK;
    VST_TRY(crop_part(&r, picture, &memory->image));
    VST_TRY(to_floats(&r, pixels));
out:
    trim(memory);
    return status;
}

vst_status vsti_sample_load(const vst_dataset *dataset, const vst_loader_options *options, vst_augment_view view,
                            vsti_sample_memory *memory, float *pixels, int *label) {
    request r = request_of(dataset, options, view, memory);
    vst_status status = VST_OK;
    VST_TRY(fetch(&r, label));
    VST_TRY(name_sample(to_floats(&r, pixels), &r));
out:
    trim(memory);
    return status;
}
