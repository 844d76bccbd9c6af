/* The keys of a term, and what they mean before there is a graph. */
#include "recipes/distill/term_options.h"

#include <stdlib.h>
#include <string.h>

const vst_option vst_term_table[] = {
    VST_OPTION_STRING(vst_term_options, distance, NULL, "kl, hard, mse …: how student and teacher are compared"),
    VST_OPTION_STRING(vst_term_options, student, "logits", "tap of the student: logits, logits_dist, blocks.3 …"),
    VST_OPTION_STRING(
        vst_term_options, from, "teacher",
        "who teaches: teacher (or 1), 2 … of several, ema: the student's moving average, student: itself"),
    VST_OPTION_STRING(vst_term_options, teacher, "logits", "tap of who teaches: logits, layer3, features.-1 …"),
    VST_OPTION_DOUBLE(vst_term_options, weight, 0.5, 0, 1e6, "of the term in the loss"),
    VST_OPTION_DOUBLE(vst_term_options, temperature, 1, 1e-3, 1000, "kl: softens both distributions"),
    VST_OPTION_CHOICE(vst_term_options, reduction, "batchmean", "batchmean|elements",
                      "kl: mean over the batch, or over batch and classes as DeiT's code does"),
    VST_OPTION_CHOICE(vst_term_options, tokens, "patches", "patches|all|class",
                      "of a transformer's tokens: the patches as a grid, all, or the class token"),
    VST_OPTION_CHOICE(vst_term_options, align, "larger", "larger|smaller|none",
                      "grids that differ: resized to the larger, pooled to the smaller, or refused"),
    VST_OPTION_CHOICE(
        vst_term_options, projector, "none", "none|linear|mlp|norm",
        "brings the student's channels to the teacher's: 1x1 convolution, two of them, one with batch norm"),
    VST_OPTION_CHOICE(vst_term_options, transform, "none", "none|standardize|unit|attention|relation",
                      "logits standardised, channels of length 1, energy map, places among each other"),
    VST_OPTION_CHOICE(vst_term_options, schedule, "constant", "constant|up|down",
                      "of the weight between `begin` and `end`: as it is, from 0 up, down to 0"),
    VST_OPTION_DOUBLE(vst_term_options, begin, 0, 0, 100000, "epoch from which the schedule counts"),
    VST_OPTION_DOUBLE(vst_term_options, end, 0, 0, 100000, "epoch to which it counts; 0: the run's last"),
    VST_OPTION_END};

int vst_term_source(const vst_term_options *term) {
    char *end = NULL;
    if (!term->from || strcmp(term->from, "teacher") == 0) return 0;
    if (strcmp(term->from, "student") == 0) return VST_FROM_STUDENT;
    if (strcmp(term->from, "ema") == 0) return VST_FROM_AVERAGE;
    const long number = strtol(term->from, &end, 10);
    return *end || number < 1 || number > VST_MAX_TEACHERS ? VST_FROM_NOWHERE : (int)number - 1;
}
