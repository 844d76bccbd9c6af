/* timm's RandAugment with timm's policy strings: draws operations from a set and applies each with a probability, at
 * one level that may have noise. */
#include <math.h>
#include <string.h>

#include "datasets/augment/operations.h"

typedef struct rand_augment_options {
    char *policy;
    vsti_resampling resampling;
} rand_augment_options;

static const vst_option options[] = {
    VST_OPTION_STRING(rand_augment_options, policy, "rand-m9-mstd0.5-inc1", "timm's string"),
    VSTI_RESAMPLING_OPTIONS(rand_augment_options, "bicubic", 124, 116, 104), /* round(255 x ImageNet's mean) */
    VST_OPTION_END};

/* ---- Sets of operations ---- */

/* weight: relative probability of being drawn */
typedef struct member {
    const char *name;
    double weight;
} member;

static const member plain[] = {{"AutoContrast", 1}, {"Equalize", 1},      {"Invert", 1},       {"Rotate", 1},
                               {"Posterize", 1},    {"Solarize", 1},      {"SolarizeAdd", 1},  {"Color", 1},
                               {"Contrast", 1},     {"Brightness", 1},    {"Sharpness", 1},    {"ShearX", 1},
                               {"ShearY", 1},       {"TranslateXRel", 1}, {"TranslateYRel", 1}};

static const member increasing[] = {{"AutoContrast", 1},
                                    {"Equalize", 1},
                                    {"Invert", 1},
                                    {"Rotate", 1},
                                    {"PosterizeIncreasing", 1},
                                    {"SolarizeIncreasing", 1},
                                    {"SolarizeAdd", 1},
                                    {"ColorIncreasing", 1},
                                    {"ContrastIncreasing", 1},
                                    {"BrightnessIncreasing", 1},
                                    {"SharpnessIncreasing", 1},
                                    {"ShearX", 1},
                                    {"ShearY", 1},
                                    {"TranslateXRel", 1},
                                    {"TranslateYRel", 1}};

static const member weights[] = {
    {"Rotate", 3},
    {"ShearX", 2},
    {"ShearY", 2},
    {"TranslateXRel", 1},
    {"TranslateYRel", 1},
    {"ColorIncreasing", 0.25},
    {"SharpnessIncreasing", 0.25},
    {"AutoContrast", 0.25},
    {"SolarizeIncreasing", 0.05},
    {"SolarizeAdd", 0.05},
    {"ContrastIncreasing", 0.05},
    {"BrightnessIncreasing", 0.05},
    {"Equalize", 0.05},
    {"PosterizeIncreasing", 0.05},
    {"Invert", 0.05},
};

static const member three[] = {{"SolarizeIncreasing", 1}, {"Desaturate", 1}, {"GaussianBlur", 1}};

static const member weighted_three[] = {{"SolarizeIncreasing", 6},
                                        {"Desaturate", 6},
                                        {"GaussianBlur", 6},
                                        {"Rotate", 3},
                                        {"ShearX", 2},
                                        {"ShearY", 2},
                                        {"PosterizeIncreasing", 1},
                                        {"AutoContrast", 1},
                                        {"ColorIncreasing", 1},
                                        {"SharpnessIncreasing", 1},
                                        {"ContrastIncreasing", 1},
                                        {"BrightnessIncreasing", 1},
                                        {"Equalize", 1},
                                        {"Invert", 1}};

typedef struct set {
    const char *part; /* the part of the string that selects this set; NULL: selected by `inc` */
    const member *members;
    int count;
    bool once; /* each operation at most once per image */
} set;

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
static const set sets[] = {{NULL, plain, COUNT(plain), false},
                           {NULL, increasing, COUNT(increasing), false},
                           {"tweights", weights, COUNT(weights), true},
                           {"t3a", three, COUNT(three), false},
                           {"t3aw", weighted_three, COUNT(weighted_three), true}};

/* ---- Parsing timm's string ---- */

typedef struct config {
    vsti_strength strength;
    double probability;
    int layers; /* operations per image */
    const set *set;
} config;

static vst_status unknown_part(const char *policy, const char *part) {
    return vst_fail(
        VST_ERROR_ARGUMENT,
        "\"%.100s\": \"%s\" is not a part of a policy; \"rand\" may be followed by, separated by dashes: m0 … m1000 "
        "(level, an integer; default 10), n1 … n%d (operations per image; 2), p0 … p1 (probability of each; 0.5), "
        "mstd0.5 (standard deviation of the level; 0; above 100: uniform level), mmax30 (highest level, an integer; "
        "10), inc0 or inc1 (1: every operation gets stronger with the level; inc0), tweights, t3a or t3aw (another set "
        "of operations)",
        policy, part, VSTI_DECISIONS);
}

static const set *find_set(const char *part) {
    for (int i = 0; i < COUNT(sets); i++)
        if (sets[i].part && strcmp(sets[i].part, part) == 0) return &sets[i];
    return NULL;
}

/* Parses one part of the string; false if it is not allowed. */
static bool take_part(config *out, const vsti_section *part) {
    const char *key = part->key;
    const double number = part->number;
    if (*key == 't') return (out->set = find_set(part->text)) != NULL;
    if (!(number >= 0)) return false; /* also rejects NaN */
    if (strcmp(key, "m") == 0 && part->whole && number <= 1000) out->strength.level = number;
    else if (strcmp(key, "mmax") == 0 && part->whole && number <= 1000)
        out->strength.maximum = number > 0 ? number : 10; /* as in timm, 0 means the default */
    else if (strcmp(key, "mstd") == 0) out->strength.spread = number > 100 ? INFINITY : number;
    else if (strcmp(key, "p") == 0 && number <= 1) out->probability = number;
    else if (strcmp(key, "n") == 0 && part->whole && number >= 1 && number <= VSTI_DECISIONS) out->layers = (int)number;
    else if (strcmp(key, "inc") == 0 && part->whole) {
        if (!out->set->part) out->set = &sets[number > 0];
    } else return false;
    return true;
}

static vst_status parse(const char *policy, config *out) {
    const char *text = policy;
    vsti_section part;
    *out = (config){.strength = {.level = 10, .maximum = 10}, .probability = 0.5, .layers = 2, .set = &sets[0]};
    if (!vsti_next_section(&text, &part) || strcmp(part.text, "rand") != 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "\"%.100s\" must begin with \"rand\", such as \"rand-m9-mstd0.5-inc1\" (DeiT's); "
                        "the policies original, originalr, v0, v0r belong to auto_augment",
                        policy);
    while (vsti_next_section(&text, &part))
        if (!take_part(out, &part)) return unknown_part(policy, part.text);
    if (out->set->once && out->layers > out->set->count)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "\"%.100s\": n%d is more than the %d operations of %s, each of which is used at "
                        "most once per image",
                        policy, out->layers, out->set->count, out->set->part);
    return VST_OK;
}

static vst_status check(const void *opaque) {
    const rand_augment_options *self = opaque;
    config setup;
    return parse(self->policy ? self->policy : "", &setup);
}

/* ---- Drawing and applying ---- */

/* Draws one member with its relative weight, except those whose bit in `taken` is set. */
static int draw_member(const set *from, uint32_t taken, double uniform) {
    double total = 0;
    for (int i = 0; i < from->count; i++)
        if (!(taken >> i & 1)) total += from->members[i].weight;
    double left = uniform * total;
    int last = 0;
    for (int i = 0; i < from->count; i++) {
        if (taken >> i & 1) continue;
        last = i;
        if (left < from->members[i].weight) break;
        left -= from->members[i].weight;
    }
    return last;
}

/* Random numbers, in order, for each operation: which one, then those of vsti_draw_decision. */
vst_status vsti_rand_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count) {
    config setup;
    const vst_status status = parse(policy ? policy : "", &setup);
    if (status != VST_OK) return status;
    uint32_t taken = 0;
    for (int i = 0; i < setup.layers; i++) {
        const int chosen = draw_member(setup.set, taken, vst_random_uniform(random));
        if (setup.set->once) taken |= UINT32_C(1) << chosen;
        const vsti_operation *operation = vsti_operation_find(setup.set->members[chosen].name);
        VST_ASSERT(operation);
        decisions[i] = vsti_draw_decision(operation, setup.probability, &setup.strength, random);
    }
    *count = setup.layers;
    return VST_OK;
}

static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const rand_augment_options *self = opaque;
    vsti_decision decisions[VSTI_DECISIONS];
    int count;
    const vst_status status = vsti_rand_augment_plan(self->policy, random, decisions, &count);
    return status == VST_OK ? vsti_apply_decisions(decisions, count, &self->resampling, image, scratch) : status;
}

extern const vst_augmentation vsti_augmentation_rand_augment;
const vst_augmentation vsti_augmentation_rand_augment = {
    .name = "rand_augment",
    .help = "operations drawn from a set, timm's RandAugment",
    .options = options,
    .options_size = sizeof(rand_augment_options),
    .check = check,
    .apply = apply,
};
