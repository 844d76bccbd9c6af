/* TrivialAugmentWide of torchvision 0.28 (https://arxiv.org/abs/2103.10158): one operation at one strength, both drawn
 * uniformly. Strengths are computed in float, as in torchvision. */
#include <math.h>

#include "datasets/augment/operations.h"

typedef struct trivial_augment_options {
    int bins;
    vsti_resampling resampling;
} trivial_augment_options;

static const vst_option options[] = {
    VST_OPTION_INT(trivial_augment_options, bins, 31, 2, 1000, "number of strengths"),
    VSTI_RESAMPLING_OPTIONS(trivial_augment_options, "nearest", 0, 0, 0), /* torchvision's */
    VST_OPTION_END};

/* ---- The search space ---- */

static const double pi = 3.141592653589793238462643383279502884;

/* torch.linspace(first, last, bins)[bin] in float: computed from the nearer end, with fused multiply-add as in torch's
 * AVX2 kernels. (Without it, a translation would be a pixel longer at one of 31 strengths.) */
static float linear(float first, float last, int bin, int bins) {
    const float step = (last - first) / (float)(bins - 1);
    return bin < bins / 2 ? fmaf(step, (float)bin, first) : fmaf(-step, (float)(bins - 1 - bin), last);
}

static double factor(int bin, int bins, double sign) { return 1 + sign * linear(0, 0.99F, bin, bins); }

/* Converts to degrees and back, as torchvision does, for the same last bit. */
static double shear_angle(int bin, int bins, double sign) {
    const double degrees = atan(sign * linear(0, 0.99F, bin, bins)) * (180 / pi);
    return degrees * (pi / 180);
}

static double shear_x(int bin, int bins, double sign) { return tan(shear_angle(bin, bins, sign)); }

static double shear_y(int bin, int bins, double sign) {
    const double angle = shear_angle(bin, bins, sign);
    return sin(angle) / cos(angle);
}

/* torchvision's positive values move the content right, ours left. */
static double shift(int bin, int bins, double sign) { return -trunc(sign * linear(0, 32, bin, bins)); }

static double degrees(int bin, int bins, double sign) { return sign * linear(0, 135, bin, bins); }

static double bits(int bin, int bins, double sign) {
    (void)sign;
    return 8 - rintf((float)bin / (float)((bins - 1) / 6.0));
}

static double threshold(int bin, int bins, double sign) {
    (void)sign;
    return linear(255, 0, bin, bins);
}

static const struct {
    const char *name; /* in vsti_operations; "": identity */
    double (*argument)(int bin, int bins, double sign);
} space[] = {
    {"", NULL},          {"ShearX", shear_x},     {"ShearY", shear_y},    {"TranslateX", shift}, {"TranslateY", shift},
    {"Rotate", degrees}, {"Brightness", factor},  {"Color", factor},      {"Contrast", factor},  {"Sharpness", factor},
    {"Posterize", bits}, {"Solarize", threshold}, {"AutoContrast", NULL}, {"Equalize", NULL},
};
enum { OPERATIONS = sizeof space / sizeof *space };

const char *vsti_trivial_argument(int index, int bin, int bins, bool negative, double *argument) {
    *argument = 0;
    if (index >= OPERATIONS) return NULL;
    if (space[index].argument) *argument = space[index].argument(bin, bins, negative ? -1 : 1);
    return space[index].name;
}

/* ---- Applying ---- */

/* Random numbers, in order: operation, strength, sign, filter, even if unused. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const trivial_augment_options *self = opaque;
    const int index = vsti_pick(vst_random_uniform(random), OPERATIONS);
    const int bin = vsti_pick(vst_random_uniform(random), self->bins);
    const bool negative = vst_random_uniform(random) >= 0.5;
    vsti_decision decision = {.filter = vst_random_uniform(random)};
    decision.operation =
        vsti_operation_find(vsti_trivial_argument(index, bin, self->bins, negative, &decision.argument));
    return vsti_apply_decisions(&decision, 1, &self->resampling, image, scratch);
}

extern const vst_augmentation vsti_augmentation_trivial_augment;
const vst_augmentation vsti_augmentation_trivial_augment = {
    .name = "trivial_augment",
    .help = "one operation at a random strength, torchvision's TrivialAugmentWide",
    .options = options,
    .options_size = sizeof(trivial_augment_options),
    .apply = apply,
};
