/* timm's operations by name. Formulas and constants are those of timm 1.0 (data/auto_augment.py), in double and in its
 * order of operations, so that arguments are equal to the last bit. */
#include "datasets/augment/operations.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vision/image/color.h"

static const double level_unit = 10; /* timm's _LEVEL_DENOM: levels are 0 … 10 */

/* ---- From levels to arguments ---- */

static double with_sign(double value, bool negative) { return negative ? -value : value; }

static double rotate_degrees(double level, bool negative) { return with_sign(level / level_unit * 30, negative); }

static double shear_factor(double level, bool negative) { return with_sign(level / level_unit * 0.3, negative); }

static double translate_share(double level, bool negative) { return with_sign(level / level_unit * 0.45, negative); }

/* timm's hparams can change the 250, but no policy string can. */
static double translate_pixels(double level, bool negative) { return with_sign(level / level_unit * 250, negative); }

static double posterize_bits(double level, bool negative) {
    (void)negative;
    return trunc(level / level_unit * 4);
}

/* 4 bits at level 0, none at level 10: a black image, as timm gives with Pillow up to 11. */
static double posterize_increasing_bits(double level, bool negative) { return 4 - posterize_bits(level, negative); }

static double posterize_original_bits(double level, bool negative) { return posterize_bits(level, negative) + 4; }

static double solarize_threshold(double level, bool negative) {
    (void)negative;
    return fmin(256, trunc(level / level_unit * 256));
}

static double solarize_increasing_threshold(double level, bool negative) {
    return 256 - solarize_threshold(level, negative);
}

static double solarize_add_value(double level, bool negative) {
    (void)negative;
    return fmin(128, trunc(level / level_unit * 110));
}

static double enhance_factor(double level, bool negative) {
    (void)negative;
    return level / level_unit * 1.8 + 0.1;
}

static double enhance_increasing_factor(double level, bool negative) {
    return fmax(0.1, 1 + with_sign(level / level_unit * 0.9, negative));
}

static double within(double level, double low, double high) {
    return fmax(low, fmin(high, low + (high - low) * (level / level_unit)));
}

static double desaturate_amount(double level, bool negative) {
    (void)negative;
    return within(level, 0.5, 1);
}

static double blur_radius(double level, bool negative) {
    (void)negative;
    return within(level, 0.1, 2);
}

static double blur_share(double level, bool negative) {
    (void)negative;
    return within(level, 0, 1);
}

/* ---- The operations ---- */

/* Swaps image and scratch if the operation succeeded. */
static vst_status take_scratch(vst_status status, vst_image *image, const vsti_context *context) {
    if (status == VST_OK) vsti_swap_images(image, context->scratch);
    return status;
}

static vst_status rotate(vst_image *image, double degrees, const vsti_context *context) {
    return take_scratch(vst_image_rotate(image, degrees, context->sampling, context->scratch), image, context);
}

static vst_status shear_x(vst_image *image, double factor, const vsti_context *context) {
    return take_scratch(vst_image_shear_x(image, factor, context->sampling, context->scratch), image, context);
}

static vst_status shear_y(vst_image *image, double factor, const vsti_context *context) {
    return take_scratch(vst_image_shear_y(image, factor, context->sampling, context->scratch), image, context);
}

static vst_status translate_x(vst_image *image, double pixels, const vsti_context *context) {
    return take_scratch(vst_image_translate_x(image, pixels, context->sampling, context->scratch), image, context);
}

static vst_status translate_y(vst_image *image, double pixels, const vsti_context *context) {
    return take_scratch(vst_image_translate_y(image, pixels, context->sampling, context->scratch), image, context);
}

static vst_status translate_x_share(vst_image *image, double share, const vsti_context *context) {
    return translate_x(image, share * image->width, context);
}

static vst_status translate_y_share(vst_image *image, double share, const vsti_context *context) {
    return translate_y(image, share * image->height, context);
}

static vst_status autocontrast(vst_image *image, double argument, const vsti_context *context) {
    (void)argument, (void)context;
    vst_image_autocontrast(image);
    return VST_OK;
}

static vst_status equalize(vst_image *image, double argument, const vsti_context *context) {
    (void)argument, (void)context;
    vst_image_equalize(image);
    return VST_OK;
}

static vst_status invert(vst_image *image, double argument, const vsti_context *context) {
    (void)argument, (void)context;
    vst_image_invert(image);
    return VST_OK;
}

static vst_status posterize(vst_image *image, double bits, const vsti_context *context) {
    (void)context;
    vst_image_posterize(image, (int)bits);
    return VST_OK;
}

/* Pillow compares integer values with a threshold that may be fractional. */
static vst_status solarize(vst_image *image, double threshold, const vsti_context *context) {
    (void)context;
    vst_image_solarize(image, (int)ceil(threshold));
    return VST_OK;
}

static vst_status solarize_add(vst_image *image, double add, const vsti_context *context) {
    (void)context;
    vst_image_solarize_add(image, (int)add, 128);
    return VST_OK;
}

static vst_status color(vst_image *image, double factor, const vsti_context *context) {
    (void)context;
    vst_image_color(image, factor);
    return VST_OK;
}

static vst_status contrast(vst_image *image, double factor, const vsti_context *context) {
    (void)context;
    vst_image_contrast(image, factor);
    return VST_OK;
}

static vst_status brightness(vst_image *image, double factor, const vsti_context *context) {
    (void)context;
    vst_image_brightness(image, factor);
    return VST_OK;
}

static vst_status sharpness(vst_image *image, double factor, const vsti_context *context) {
    return vst_image_sharpness(image, factor, context->scratch);
}

static vst_status desaturate(vst_image *image, double amount, const vsti_context *context) {
    return color(image, fmin(1, fmax(0, 1 - amount)), context);
}

static vst_status blur(vst_image *image, double radius, const vsti_context *context) {
    return vst_image_gaussian_blur(image, radius, context->scratch);
}

static vst_status blur_random(vst_image *image, double share, const vsti_context *context) {
    return blur(image, vsti_uniform(context->uniform, 0.1, 2 * share), context);
}

/* To add an operation, add a line here. */
const vsti_operation vsti_operations[] = {
    {"AutoContrast", NULL, autocontrast},
    {"Equalize", NULL, equalize},
    {"Invert", NULL, invert},
    {"Rotate", rotate_degrees, rotate},
    {"Posterize", posterize_bits, posterize},
    {"PosterizeIncreasing", posterize_increasing_bits, posterize},
    {"PosterizeOriginal", posterize_original_bits, posterize},
    {"Solarize", solarize_threshold, solarize},
    {"SolarizeIncreasing", solarize_increasing_threshold, solarize},
    {"SolarizeAdd", solarize_add_value, solarize_add},
    {"Color", enhance_factor, color},
    {"ColorIncreasing", enhance_increasing_factor, color},
    {"Contrast", enhance_factor, contrast},
    {"ContrastIncreasing", enhance_increasing_factor, contrast},
    {"Brightness", enhance_factor, brightness},
    {"BrightnessIncreasing", enhance_increasing_factor, brightness},
    {"Sharpness", enhance_factor, sharpness},
    {"SharpnessIncreasing", enhance_increasing_factor, sharpness},
    {"ShearX", shear_factor, shear_x},
    {"ShearY", shear_factor, shear_y},
    {"TranslateX", translate_pixels, translate_x},
    {"TranslateY", translate_pixels, translate_y},
    {"TranslateXRel", translate_share, translate_x_share},
    {"TranslateYRel", translate_share, translate_y_share},
    {"Desaturate", desaturate_amount, desaturate},
    {"GaussianBlur", blur_radius, blur},
    {"GaussianBlurRand", blur_share, blur_random},
};
const size_t vsti_operation_count = sizeof vsti_operations / sizeof *vsti_operations;

const vsti_operation *vsti_operation_find(const char *name) {
    for (size_t i = 0; i < vsti_operation_count; i++)
        if (strcmp(vsti_operations[i].name, name) == 0) return &vsti_operations[i];
    return NULL;
}

/* ---- Drawing and applying ---- */

vst_filter vsti_filter(int interpolation, double uniform) {
    static const vst_filter filters[] = {
        [VSTI_FILTER_BICUBIC] = VST_FILTER_BICUBIC, [VSTI_FILTER_BILINEAR] = VST_FILTER_BILINEAR,
        [VSTI_FILTER_RANDOM] = VST_FILTER_BILINEAR, [VSTI_FILTER_NEAREST] = VST_FILTER_NEAREST,
        [VSTI_FILTER_BOX] = VST_FILTER_BOX,         [VSTI_FILTER_HAMMING] = VST_FILTER_HAMMING,
        [VSTI_FILTER_LANCZOS] = VST_FILTER_LANCZOS};
    const bool bicubic = interpolation == VSTI_FILTER_RANDOM && uniform >= 0.5;
    return bicubic ? VST_FILTER_BICUBIC : filters[interpolation];
}

vsti_decision vsti_draw_decision(const vsti_operation *operation, double probability, const vsti_strength *strength,
                                 vst_random *random) {
    const bool applied = vst_random_uniform(random) < probability;
    const double noise = vst_random_normal(random), share = vst_random_uniform(random);
    const bool negative = vst_random_uniform(random) >= 0.5;
    vsti_decision decision = {.filter = vst_random_uniform(random), .uniform = vst_random_uniform(random)};
    if (!applied) return decision;
    const double drawn = isinf(strength->spread) ? strength->level * share : strength->level + strength->spread * noise;
    decision.operation = operation;
    decision.level = fmax(0, fmin(drawn, strength->maximum));
    if (operation->argument) decision.argument = operation->argument(decision.level, negative);
    return decision;
}

vst_status vsti_apply_decisions(const vsti_decision *decisions, int count, const vsti_resampling *resampling,
                                vst_image *image, vst_augment_scratch *scratch) {
    uint8_t fill[3] = {(uint8_t)resampling->fill_red, (uint8_t)resampling->fill_green, (uint8_t)resampling->fill_blue};
    if (image->channels == 1) /* Pillow's luminance */
        fill[0] = (uint8_t)((19595 * resampling->fill_red + 38470 * resampling->fill_green +
                             7471 * resampling->fill_blue + 0x8000) >>
                            16);
    for (int i = 0; i < count; i++) {
        const vsti_decision *decision = &decisions[i];
        if (!decision->operation) continue;
        const vsti_context context = {.sampling = {vsti_filter(resampling->interpolation, decision->filter), fill},
                                      .uniform = decision->uniform,
                                      .scratch = &scratch->images[0]};
        const vst_status status = decision->operation->apply(image, decision->argument, &context);
        if (status != VST_OK) return vst_fail_in(status, "%s", decision->operation->name);
    }
    return VST_OK;
}

/* ---- Options of policies ---- */

vst_status vsti_check_range(const char *least_name, double least, const char *greatest_name, double greatest) {
    if (least <= greatest) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "%s %g is above %s %g: lower the one or raise the other", least_name, least,
                    greatest_name, greatest);
}

/* ---- Parsing timm's strings ---- */

bool vsti_next_section(const char **text, vsti_section *out) {
    if (!**text) return false;
    const size_t length = strcspn(*text, "-"), kept = length < sizeof out->text ? length : sizeof out->text - 1;
    *out = (vsti_section){.number = NAN};
    memcpy(out->text, *text, kept);
    memcpy(out->key, *text, strcspn(out->text, "0123456789"));
    const char *number = out->text + strlen(out->key);
    /* reject what else strtod accepts, such as hexadecimal numbers */
    if (*number && length == kept && number[strspn(number, "0123456789.eE")] == '\0') {
        char *end;
        const double value = strtod(number, &end);
        if (*end == '\0' && isfinite(value)) out->number = value;
        out->whole = number[strspn(number, "0123456789")] == '\0';
    }
    *text += length + ((*text)[length] == '-');
    return true;
}
