/* The options of post-training quantisation that a study sets. */
#include "recipes/quant/quantize.h"

const vst_option vst_quantize_table[] = {
    VST_OPTION_INT(vst_quantize_options, images, 256, 1, 1000000, "images for calibration"),
    VST_OPTION_INT(vst_quantize_options, held_out, 512, 1, 1000000, "other images by which layers are chosen"),
    VST_OPTION_DOUBLE(vst_quantize_options, max_drop, 0.5, -1, 100,
                      "points of top-1 that may be lost on those; -1: all layers on integers, whatever they cost"),
    VST_OPTION_DOUBLE(vst_quantize_options, max_changed, 2, 0, 100,
                      "per cent of the predictions that may change; 0: 2"),
    VST_OPTION_END};
