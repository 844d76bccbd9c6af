/* Declarations shared by rand_augment, auto_augment, trivial_augment and others: timm's operations by name, how one is
 * drawn with a strength, and how it is applied. A policy first draws its decisions, a pure function of the random
 * stream, and then performs them; tests check the decisions. Not installed. */
#ifndef VISTILL_DATASETS_AUGMENT_OPERATIONS_H
#define VISTILL_DATASETS_AUGMENT_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "datasets/augment/augment.h"
#include "vision/image/geometry.h"

/* ---- Options that several policies have ---- */

/* The first choices of every policy's option `interpolation`. random: bilinear or bicubic with equal probability, drawn
 * for every use. The filters after `nearest` are for resizing only. */
#define VSTI_AFFINE_FILTERS(X)          \
    X(VSTI_FILTER_BICUBIC, "bicubic")   \
    X(VSTI_FILTER_BILINEAR, "bilinear") \
    X(VSTI_FILTER_RANDOM, "random")     \
    X(VSTI_FILTER_NEAREST, "nearest")
#define VSTI_RESIZE_FILTERS(X)        \
    VSTI_AFFINE_FILTERS(X)            \
    X(VSTI_FILTER_BOX, "box")         \
    X(VSTI_FILTER_HAMMING, "hamming") \
    X(VSTI_FILTER_LANCZOS, "lanczos")
enum { VST_CHOICE_ENUM(VSTI_RESIZE_FILTERS) };

/* For a policy's `check`: fails if the lower bound of a range is above the upper one. The names are those of the
 * options. */
vst_status vsti_check_range(const char *least_name, double least, const char *greatest_name, double greatest);

/* The filter of an `interpolation`; uniform: a random number in [0, 1). */
vst_filter vsti_filter(int interpolation, double uniform);

/* Interpolation and fill colour of geometric operations. */
typedef struct vsti_resampling {
    int interpolation; /* of VSTI_AFFINE_FILTERS */
    int fill_red, fill_green, fill_blue;
} vsti_resampling;

/* Options for the fields of a structure's member `resampling`. */
#define VSTI_FILL_OPTION(S, name, default_value, help) \
    {#name, VST_TYPE_INT, offsetof(S, resampling.name), 0, 255, #default_value, NULL, help}
#define VSTI_INTERPOLATION_OPTION(S, filter) \
    {"interpolation",                        \
     VST_TYPE_CHOICE,                        \
     offsetof(S, resampling.interpolation),  \
     0,                                      \
     0,                                      \
     filter,                                 \
     VST_CHOICE_TEXT(VSTI_AFFINE_FILTERS),   \
     "of rotations, shears, translations"}
#define VSTI_RESAMPLING_OPTIONS(S, filter, red, green, blue)                                                   \
    VSTI_INTERPOLATION_OPTION(S, filter),                                                                      \
        VSTI_FILL_OPTION(S, fill_red, red, "fill colour outside the image; its luminance if images are grey"), \
        VSTI_FILL_OPTION(S, fill_green, green, "the same"), VSTI_FILL_OPTION(S, fill_blue, blue, "the same")

/* ---- Operations ---- */

/* Further arguments of an operation. */
typedef struct vsti_context {
    vst_sampling sampling; /* of geometric operations */
    double uniform;        /* a random number in [0, 1) for the operation */
    vst_image *scratch;    /* overwritten; an operation that writes its result to it swaps it with the image */
} vsti_context;

typedef struct vsti_operation {
    const char *name; /* timm's */
    /* Converts a level (0 … 10, more if the policy string allows it) to the argument of `apply`: degrees, a fraction, a
     * factor or a number of bits. negative: the sign or direction, if the operation has one. NULL: no argument. */
    double (*argument)(double level, bool negative);
    vst_status (*apply)(vst_image *image, double argument, const vsti_context *context);
} vsti_operation;

extern const vsti_operation vsti_operations[];
extern const size_t vsti_operation_count;

/* Finds an operation by name; NULL if unknown. */
const vsti_operation *vsti_operation_find(const char *name);

/* ---- Plans ---- */

/* The strength of operations. */
typedef struct vsti_strength {
    double level; /* timm's m */
    double
        spread; /* standard deviation of the level (mstd); 0: none; infinite: the level is uniform from 0 to `level` */
    double maximum; /* levels are clamped to 0 … maximum (mmax) */
} vsti_strength;

/* One operation to apply to an image. */
typedef struct vsti_decision {
    const vsti_operation *operation; /* NULL: nothing is done */
    double level, argument;          /* the argument follows from the level; 0 if there is none */
    double filter, uniform;          /* random numbers in [0, 1), for vsti_filter and for the operation */
} vsti_decision;

enum { VSTI_DECISIONS = 16 }; /* most for one image */

/* Decides whether and how `operation` is applied. Always draws seven uniform numbers, in this order: whether it is
 * applied, the noise of the level (a normal number from two uniform ones), the uniform level, the sign, the filter, and
 * the number for the operation. */
vsti_decision vsti_draw_decision(const vsti_operation *operation, double probability, const vsti_strength *strength,
                                 vst_random *random);

vst_status vsti_apply_decisions(const vsti_decision *decisions, int count, const vsti_resampling *resampling,
                                vst_image *image, vst_augment_scratch *scratch);

/* Draw the decisions for one image, for the policies and their tests. `decisions` has room for VSTI_DECISIONS. Fails if
 * `policy`, timm's string, is invalid. */
vst_status vsti_rand_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count);
vst_status vsti_auto_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count);

/* A sub-policy of AutoAugment: two operations in order, each with its probability and level. */
typedef struct vsti_sub_policy {
    struct {
        const char *name; /* NULL: no second operation */
        double probability, level;
    } steps[2];
} vsti_sub_policy;
/* The sub-policies of "original", "originalr", "v0", "v0r" or "3a"; NULL, and *count 0, for any other name. */
const vsti_sub_policy *vsti_auto_augment_table(const char *name, int *count);

/* The search space of TrivialAugment: name of operation `index` and its argument at one of `bins` magnitudes. NULL
 * after the last operation. */
const char *vsti_trivial_argument(int index, int bin, int bins, bool negative, double *argument);

/* ---- timm's strings ---- */

/* One part of a string such as "rand-m9-mstd0.5-inc1": letters followed by a number. */
typedef struct vsti_section {
    char text[32]; /* the whole part */
    char key[32];  /* up to the first digit: "mstd" */
    double number; /* NaN if the key is not followed by a plain number */
    bool whole;    /* the number has no decimal point and no exponent */
} vsti_section;

/* Reads the next part and advances *text; false at the end. Parts that are too long are truncated and therefore
 * unknown. */
bool vsti_next_section(const char **text, vsti_section *out);

/* ---- Helpers ---- */

static inline void vsti_swap_images(vst_image *a, vst_image *b) {
    const vst_image old = *a;
    *a = *b;
    *b = old;
}

/* Maps a random number in [0, 1) to 0 … count - 1. */
static inline int vsti_pick(double uniform, int count) { return (int)(uniform * count); }

/* Python's random.uniform(low, high), by its formula. */
static inline double vsti_uniform(double uniform, double low, double high) { return low + (high - low) * uniform; }

/* Shifts the hue as torchvision's adjust_hue, in Pillow's 8-bit HSV, by int(turn x 255) of 256 steps. turn: -0.5 … 0.5.
 * Grey images are unchanged. */
void vsti_shift_hue(vst_image *image, double turn);

#endif
