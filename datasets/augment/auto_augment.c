/* timm's AutoAugment with timm's policy strings: applies one of 25 learned pairs of operations, each operation with its
 * probability and level. */
#include <math.h>
#include <string.h>

#include "datasets/augment/operations.h"

typedef struct auto_augment_options {
    char *policy;
    vsti_resampling resampling;
} auto_augment_options;

static const vst_option options[] = {
    VST_OPTION_STRING(auto_augment_options, policy, "original", "timm's string: original, originalr, v0, v0r or 3a"),
    VSTI_RESAMPLING_OPTIONS(auto_augment_options, "bicubic", 124, 116, 104), /* round(255 x ImageNet's mean) */
    VST_OPTION_END};

/* ---- Sub-policies ---- */
/* clang-format off */

enum { SUB_POLICIES = 25 };

/* ORIGINAL of https://arxiv.org/abs/1805.09501; the argument is the name of the posterize operation. */
#define ORIGINAL(POSTERIZE)                                            \
    {{{{POSTERIZE, 0.4, 8}, {"Rotate", 0.6, 9}}},                      \
     {{{"Solarize", 0.6, 5}, {"AutoContrast", 0.6, 5}}},               \
     {{{"Equalize", 0.8, 8}, {"Equalize", 0.6, 3}}},                   \
     {{{POSTERIZE, 0.6, 7}, {POSTERIZE, 0.6, 6}}},                     \
     {{{"Equalize", 0.4, 7}, {"Solarize", 0.2, 4}}},                   \
     {{{"Equalize", 0.4, 4}, {"Rotate", 0.8, 8}}},                     \
     {{{"Solarize", 0.6, 3}, {"Equalize", 0.6, 7}}},                   \
     {{{POSTERIZE, 0.8, 5}, {"Equalize", 1.0, 2}}},                    \
     {{{"Rotate", 0.2, 3}, {"Solarize", 0.6, 8}}},                     \
     {{{"Equalize", 0.6, 8}, {POSTERIZE, 0.4, 6}}},                    \
     {{{"Rotate", 0.8, 8}, {"Color", 0.4, 0}}},                        \
     {{{"Rotate", 0.4, 9}, {"Equalize", 0.6, 2}}},                     \
     {{{"Equalize", 0.0, 7}, {"Equalize", 0.8, 8}}},                   \
     {{{"Invert", 0.6, 4}, {"Equalize", 1.0, 8}}},                     \
     {{{"Color", 0.6, 4}, {"Contrast", 1.0, 8}}},                      \
     {{{"Rotate", 0.8, 8}, {"Color", 1.0, 2}}},                        \
     {{{"Color", 0.8, 8}, {"Solarize", 0.8, 7}}},                      \
     {{{"Sharpness", 0.4, 7}, {"Invert", 0.6, 8}}},                    \
     {{{"ShearX", 0.6, 5}, {"Equalize", 1.0, 9}}},                     \
     {{{"Color", 0.4, 0}, {"Equalize", 0.6, 3}}},                      \
     {{{"Equalize", 0.4, 7}, {"Solarize", 0.2, 4}}},                   \
     {{{"Solarize", 0.6, 5}, {"AutoContrast", 0.6, 5}}},               \
     {{{"Invert", 0.6, 4}, {"Equalize", 1.0, 8}}},                     \
     {{{"Color", 0.6, 4}, {"Contrast", 1.0, 8}}},                      \
     {{{"Equalize", 0.8, 8}, {"Equalize", 0.6, 3}}}}

/* The policy used to train EfficientNet. */
#define V0(POSTERIZE)                                                  \
    {{{{"Equalize", 0.8, 1}, {"ShearY", 0.8, 4}}},                     \
     {{{"Color", 0.4, 9}, {"Equalize", 0.6, 3}}},                      \
     {{{"Color", 0.4, 1}, {"Rotate", 0.6, 8}}},                        \
     {{{"Solarize", 0.8, 3}, {"Equalize", 0.4, 7}}},                   \
     {{{"Solarize", 0.4, 2}, {"Solarize", 0.6, 2}}},                   \
     {{{"Color", 0.2, 0}, {"Equalize", 0.8, 8}}},                      \
     {{{"Equalize", 0.4, 8}, {"SolarizeAdd", 0.8, 3}}},                \
     {{{"ShearX", 0.2, 9}, {"Rotate", 0.6, 8}}},                       \
     {{{"Color", 0.6, 1}, {"Equalize", 1.0, 2}}},                      \
     {{{"Invert", 0.4, 9}, {"Rotate", 0.6, 0}}},                       \
     {{{"Equalize", 1.0, 9}, {"ShearY", 0.6, 3}}},                     \
     {{{"Color", 0.4, 7}, {"Equalize", 0.6, 0}}},                      \
     {{{POSTERIZE, 0.4, 6}, {"AutoContrast", 0.4, 7}}},                \
     {{{"Solarize", 0.6, 8}, {"Color", 0.6, 9}}},                      \
     {{{"Solarize", 0.2, 4}, {"Rotate", 0.8, 9}}},                     \
     {{{"Rotate", 1.0, 7}, {"TranslateYRel", 0.8, 9}}},                \
     {{{"ShearX", 0.0, 0}, {"Solarize", 0.8, 4}}},                     \
     {{{"ShearY", 0.8, 0}, {"Color", 0.6, 4}}},                        \
     {{{"Color", 1.0, 0}, {"Rotate", 0.6, 2}}},                        \
     {{{"Equalize", 0.8, 4}, {"Equalize", 0.0, 8}}},                   \
     {{{"Equalize", 1.0, 4}, {"AutoContrast", 0.6, 2}}},               \
     {{{"ShearY", 0.4, 7}, {"SolarizeAdd", 0.6, 7}}},                  \
     {{{POSTERIZE, 0.8, 2}, {"Solarize", 0.6, 10}}},                   \
     {{{"Solarize", 0.6, 8}, {"Equalize", 0.6, 1}}},                   \
     {{{"Color", 0.8, 6}, {"Rotate", 0.4, 5}}}}

static const vsti_sub_policy original[SUB_POLICIES] = ORIGINAL("PosterizeOriginal");
static const vsti_sub_policy original_increasing[SUB_POLICIES] = ORIGINAL("PosterizeIncreasing");
static const vsti_sub_policy v0[SUB_POLICIES] = V0("Posterize");
static const vsti_sub_policy v0_increasing[SUB_POLICIES] = V0("PosterizeIncreasing");
/* clang-format on */
static const vsti_sub_policy three[3] = {
    {{{"Solarize", 1, 5}}}, {{{"Desaturate", 1, 10}}}, {{{"GaussianBlurRand", 1, 10}}}};

const vsti_sub_policy *vsti_auto_augment_table(const char *name, int *count) {
    static const struct {
        const char *name;
        const vsti_sub_policy *table;
        int count;
    } tables[] = {{"original", original, SUB_POLICIES},
                  {"originalr", original_increasing, SUB_POLICIES},
                  {"v0", v0, SUB_POLICIES},
                  {"v0r", v0_increasing, SUB_POLICIES},
                  {"3a", three, 3}};
    *count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i].name, name) == 0) {
            *count = tables[i].count;
            return tables[i].table;
        }
    return NULL;
}

/* ---- Parsing timm's string ---- */

static vst_status parse(const char *policy, const vsti_sub_policy **table, int *count, double *spread) {
    const char *text = policy;
    vsti_section part = {0};
    *spread = 0;
    (void)vsti_next_section(&text, &part); /* "" for an empty string, which is not the name of a table */
    *table = vsti_auto_augment_table(part.text, count);
    if (!*table)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "\"%.100s\": there is no policy \"%s\"; there are original, originalr, v0, v0r and "
                        "3a; \"rand-…\" belongs to rand_augment",
                        policy, part.text);
    while (vsti_next_section(&text, &part)) {
        if (strcmp(part.key, "mstd") != 0 || isnan(part.number))
            return vst_fail(VST_ERROR_ARGUMENT,
                            "\"%.100s\": \"%s\" is not a part of a policy; the name may be followed by mstd and a "
                            "number, the noise of the levels, such as \"original-mstd0.5\"",
                            policy, part.text);
        *spread = part.number;
    }
    return VST_OK;
}

static vst_status check(const void *opaque) {
    const auto_augment_options *self = opaque;
    const vsti_sub_policy *table;
    int count;
    double spread;
    return parse(self->policy ? self->policy : "", &table, &count, &spread);
}

/* ---- Drawing and applying ---- */

/* Random numbers, in order: the sub-policy, then those of vsti_draw_decision for each of its operations. */
vst_status vsti_auto_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count) {
    const vsti_sub_policy *table;
    int tables;
    double spread;
    const vst_status status = parse(policy ? policy : "", &table, &tables, &spread);
    if (status != VST_OK) return status;
    const vsti_sub_policy *chosen = &table[vsti_pick(vst_random_uniform(random), tables)];
    *count = 0;
    for (int i = 0; i < 2 && chosen->steps[i].name; i++) {
        const vsti_operation *operation = vsti_operation_find(chosen->steps[i].name);
        VST_ASSERT(operation);
        const vsti_strength strength = {.level = chosen->steps[i].level, .spread = spread, .maximum = 10};
        decisions[(*count)++] = vsti_draw_decision(operation, chosen->steps[i].probability, &strength, random);
    }
    return VST_OK;
}

static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const auto_augment_options *self = opaque;
    vsti_decision decisions[VSTI_DECISIONS];
    int count;
    const vst_status status = vsti_auto_augment_plan(self->policy, random, decisions, &count);
    return status == VST_OK ? vsti_apply_decisions(decisions, count, &self->resampling, image, scratch) : status;
}

extern const vst_augmentation vsti_augmentation_auto_augment;
const vst_augmentation vsti_augmentation_auto_augment = {
    .name = "auto_augment",
    .help = "one of 25 learned pairs of operations, timm's AutoAugment",
    .options = options,
    .options_size = sizeof(auto_augment_options),
    .check = check,
    .apply = apply,
};
