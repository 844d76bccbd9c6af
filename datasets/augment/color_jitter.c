/* torchvision's ColorJitter: random brightness, contrast, saturation and hue in random order. */
#include <math.h>

#include "datasets/augment/operations.h"
#include "vision/image/color.h"

typedef struct color_jitter_options {
    double probability, brightness, contrast, saturation, hue;
} color_jitter_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(color_jitter_options, probability, 1, 0, 1, "probability of applying it"),
    VST_OPTION_DOUBLE(color_jitter_options, brightness, 0.4, 0, 16,
                      "factor from 1 - x (not below 0) to 1 + x; 0: none"),
    VST_OPTION_DOUBLE(color_jitter_options, contrast, 0.4, 0, 16, "the same for contrast"),
    VST_OPTION_DOUBLE(color_jitter_options, saturation, 0.4, 0, 16, "the same for saturation"),
    VST_OPTION_DOUBLE(color_jitter_options, hue, 0, 0, 0.5, "shift of the hue from -x to x; 1 is the whole circle"),
    VST_OPTION_END};

/* ---- Hue in Pillow's 8-bit HSV ---- */

static uint8_t to_byte(double value) { return (uint8_t)fmin(255, fmax(0, value)); }

/* Pillow's convert("HSV"): mixed float and double, truncated to bytes. */
static void to_hsv(const uint8_t rgb[3], uint8_t hsv[3]) {
    const uint8_t red = rgb[0], green = rgb[1], blue = rgb[2];
    const uint8_t brighter = red > green ? red : green, darker = red < green ? red : green;
    const uint8_t most = brighter > blue ? brighter : blue, least = darker < blue ? darker : blue;
    hsv[0] = hsv[1] = 0;
    hsv[2] = most;
    if (most == least) return;
    const float range = (float)(most - least);
    const float from_red = (float)(most - red) / range, from_green = (float)(most - green) / range,
                from_blue = (float)(most - blue) / range;
    float hue;
    if (red == most) hue = from_blue - from_green;
    else if (green == most) hue = (float)(2.0 + from_red - from_blue);
    else hue = (float)(4.0 + from_green - from_red);
    hue = (float)fmod(hue / 6.0 + 1.0, 1.0);
    hsv[0] = to_byte(hue * 255.0);
    hsv[1] = to_byte(range / (float)most * 255.0);
}

/* Pillow's convert("RGB") from HSV. */
static void to_rgb(const uint8_t hsv[3], uint8_t rgb[3]) {
    const uint8_t value = hsv[2];
    if (hsv[1] == 0) {
        rgb[0] = rgb[1] = rgb[2] = value;
        return;
    }
    const int sector = (int)floorf((float)((float)hsv[0] * 6.0 / 255.0));
    const float within = (float)((float)hsv[0] * 6.0 / 255.0 - (float)sector);
    const float saturation = (float)((float)hsv[1] / 255.0);
    const uint8_t low = to_byte(round((float)value * (1.0 - saturation)));
    const uint8_t falling = to_byte(round((float)value * (1.0 - saturation * within)));
    const uint8_t rising = to_byte(round((float)value * (1.0 - saturation * (1.0 - within))));
    const uint8_t sectors[6][3] = {{value, rising, low},  {falling, value, low}, {low, value, rising},
                                   {low, falling, value}, {rising, low, value},  {value, low, falling}};
    for (int i = 0; i < 3; i++) rgb[i] = sectors[sector % 6][i];
}

void vsti_shift_hue(vst_image *image, double turn) {
    if (image->channels == 1) return;
    const uint8_t steps = (uint8_t)(int)(turn * 255);
    uint8_t hsv[3];
    uint8_t *const end = image->pixels + (size_t)image->height * (size_t)image->width * 3;
    for (uint8_t *pixel = image->pixels; pixel < end; pixel += 3) {
        to_hsv(pixel, hsv);
        hsv[0] = (uint8_t)(hsv[0] + steps);
        to_rgb(hsv, pixel);
    }
}

/* ---- Applying ---- */

/* A random permutation of 0 … 3 from three random numbers. */
static void draw_order(vst_random *random, int order[4]) {
    for (int i = 0; i < 4; i++) order[i] = i;
    for (int i = 3; i > 0; i--) {
        const int other = vsti_pick(vst_random_uniform(random), i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static void change(vst_image *image, int what, double factor) {
    if (what == 0) vst_image_brightness(image, factor);
    if (what == 1) vst_image_contrast(image, factor);
    if (what == 2) vst_image_color(image, factor);
    if (what == 3) vsti_shift_hue(image, factor);
}

/* Random numbers, in order: whether to apply, the permutation, then brightness, contrast, saturation and hue, even if
 * unused. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const color_jitter_options *self = opaque;
    const double ranges[4] = {self->brightness, self->contrast, self->saturation, self->hue};
    const bool applied = vst_random_uniform(random) < self->probability;
    int order[4];
    double factors[4];
    (void)scratch;
    draw_order(random, order);
    for (int i = 0; i < 4; i++) {
        const double middle = i < 3 ? 1 : 0, low = i < 3 ? fmax(0, 1 - ranges[i]) : -ranges[i];
        factors[i] = vsti_uniform(vst_random_uniform(random), low, middle + ranges[i]);
    }
    for (int i = 0; applied && i < 4; i++)
        if (ranges[order[i]] > 0) change(image, order[i], factors[order[i]]);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_color_jitter;
const vst_augmentation vsti_augmentation_color_jitter = {
    .name = "color_jitter",
    .help = "random brightness, contrast, saturation and hue",
    .options = options,
    .options_size = sizeof(color_jitter_options),
    .apply = apply,
};
