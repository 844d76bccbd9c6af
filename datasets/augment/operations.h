/* What rand_augment, auto_augment, trivial_augment and their like share: timm's operations by name, and how one of them
 * is chosen, given a strength and carried out. A policy first plans, which is a pure function of the random stream, and
 * then performs; tests look at the plans. Not installed. */
#ifndef VISTILL_DATASETS_AUGMENT_OPERATIONS_H
#define VISTILL_DATASETS_AUGMENT_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "datasets/augment/augment.h"
#include "vision/image/geometry.h"

/* ---- Options that several policies have ---- */

/* The first places of every policy's option `interpolation`; random: bilinear or bicubic, with equal chances, drawn
 * anew for each use. The filters after `nearest` are for resizing only. */
#define VSTI_FILTERS_MOVE "bicubic|bilinear|random|nearest"
#define VSTI_FILTERS_RESIZE VSTI_FILTERS_MOVE "|box|hamming|lanczos"

/* For a policy's `check`: refuses a range whose least value is above the greatest; the names are the options'. */
vst_status vsti_check_range(const char *least_name, double least, const char *greatest_name, double greatest);

/* The filter of an `interpolation`; uniform: a draw from [0, 1). */
vst_filter vsti_filter(int interpolation, double uniform);

/* How operations that move pixels find values between them, and what they show where the picture ends. */
typedef struct vsti_look {
    int interpolation; /* of VSTI_FILTERS_MOVE */
    int fill_red, fill_green, fill_blue;
} vsti_look;

/* The options of a structure's field `look`, under its fields' own names. */
#define VSTI_FILL_OPTION(S, name, default_value, help) \
    {#name, VST_TYPE_INT, offsetof(S, look.name), 0, 255, #default_value, NULL, help}
#define VSTI_LOOK_OPTIONS(S, filter, red, green, blue)                                                            \
    {"interpolation", VST_TYPE_CHOICE,   offsetof(S, look.interpolation),     0, 0,                               \
     filter,          VSTI_FILTERS_MOVE, "of rotations, shears, translations"},                                   \
        VSTI_FILL_OPTION(S, fill_red, red, "of what lies outside the picture; its luminance if images are grey"), \
        VSTI_FILL_OPTION(S, fill_green, green, "the same"), VSTI_FILL_OPTION(S, fill_blue, blue, "the same")

/* ---- Operations ---- */

/* What an operation may need besides its argument. */
typedef struct vsti_context {
    vst_sampling sampling; /* of operations that move pixels */
    double uniform;        /* a draw from [0, 1) for an operation's own use */
    vst_image *scratch;    /* overwritten; an operation that makes its result in it swaps it with the image */
} vsti_context;

typedef struct vsti_operation {
    const char *name; /* timm's */
    /* What a level (0 … 10, more if a policy's string allows it) means for `apply`: degrees, a share, a factor, a
     * number of bits. negative: the sign or direction, used by those that have one. NULL: the operation takes no
     * argument. */
    double (*argument)(double level, bool negative);
    vst_status (*apply)(vst_image *image, double argument, const vsti_context *context);
} vsti_operation;

extern const vsti_operation vsti_operations[];
extern const size_t vsti_operation_count;

/* NULL if there is none of that name. */
const vsti_operation *vsti_operation_find(const char *name);

/* ---- Plans ---- */

/* How strongly operations are applied. */
typedef struct vsti_strength {
    double level; /* timm's m */
    double
        spread; /* standard deviation of the level (mstd); 0: none; infinite: the level is uniform from 0 to `level` */
    double maximum; /* levels beyond it (mmax), or below 0, are drawn to the end of the range */
} vsti_strength;

/* One operation to be carried out on an image. */
typedef struct vsti_decision {
    const vsti_operation *operation; /* NULL: nothing is done */
    double level, argument;          /* the level has led to the argument; 0 where there is none */
    double filter, uniform;          /* draws from [0, 1): for vsti_filter, and for the operation's own use */
} vsti_decision;

enum { VSTI_DECISIONS = 16 }; /* most for one image */

/* Whether and how `operation` is applied. Seven uniform numbers are drawn whatever comes of them, in this order:
 * whether it is applied at all, the level's noise (a normal number, which takes two), the uniform level, the sign, the
 * filter, and the operation's own. */
vsti_decision vsti_decide(const vsti_operation *operation, double probability, const vsti_strength *strength,
                          vst_random *random);

vst_status vsti_perform(const vsti_decision *decisions, int count, const vsti_look *look, vst_image *image,
                        vst_augment_scratch *scratch);

/* The plans of one image, for the policies and their tests. `decisions` has room for VSTI_DECISIONS. An error tells
 * what is wrong with `policy`, timm's string. */
vst_status vsti_rand_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count);
vst_status vsti_auto_augment_plan(const char *policy, vst_random *random, vsti_decision *decisions, int *count);

/* A sub-policy of AutoAugment: one operation after the other, with its probability and level. */
typedef struct vsti_sub_policy {
    struct {
        const char *name; /* NULL: no second operation */
        double probability, level;
    } steps[2];
} vsti_sub_policy;
/* The sub-policies of "original", "originalr", "v0", "v0r" or "3a"; NULL, and *count 0, for any other name. */
const vsti_sub_policy *vsti_auto_augment_table(const char *name, int *count);

/* The space of TrivialAugment: operation `index`'s name and its argument at one of `bins` magnitudes; NULL after the
 * last. */
const char *vsti_trivial_argument(int index, int bin, int bins, bool negative, double *argument);

/* ---- timm's strings ---- */

/* One part of a string such as "rand-m9-mstd0.5-inc1": letters and the number behind them. */
typedef struct vsti_section {
    char text[32]; /* the whole part */
    char key[32];  /* up to the first digit: "mstd" */
    double number; /* NaN if what follows the key is no plain number or there is nothing */
    bool whole;    /* the number is written without a point or an exponent */
} vsti_section;

/* Reads the part that *text begins with and moves *text behind it; false at the end. Parts too long for the structure
 * are cut, and so unknown to anybody. */
bool vsti_next_section(const char **text, vsti_section *out);

/* ---- Small things ---- */

static inline void vsti_swap_images(vst_image *a, vst_image *b) {
    const vst_image old = *a;
    *a = *b;
    *b = old;
}

/* 0 … count - 1 for a draw from [0, 1). */
static inline int vsti_pick(double uniform, int count) { return (int)(uniform * count); }

/* Python's random.uniform(low, high), by its formula. */
static inline double vsti_between(double uniform, double low, double high) { return low + (high - low) * uniform; }

/* Turns the hue as torchvision's adjust_hue does by way of Pillow's 8-bit HSV: by int(turn x 255) of 256 steps. turn:
 * -0.5 … 0.5. Grey images stay as they are. */
void vsti_turn_hue(vst_image *image, double turn);

#endif
