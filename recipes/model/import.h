/* Imports weights of other programs as a model's parameters, by name or by the family's table of other names. */
#ifndef VISTILL_RECIPES_MODEL_IMPORT_H
#define VISTILL_RECIPES_MODEL_IMPORT_H

#include "backbones/backbone.h"
#include "vision/tensor/weights.h"

typedef enum vst_import_finding {
    VST_IMPORT_RENAMED,    /* taken under another name; counted, without a row */
    VST_IMPORT_RESIZED,    /* a position embedding of another grid, interpolated */
    VST_IMPORT_FRESH,      /* part of a classifier that keeps its initial values (reset_head) */
    VST_IMPORT_IGNORED,    /* known to be of no use: counters that profilers and averaging leave behind */
    VST_IMPORT_BESIDE,     /* behind another prefix than the model's tensors: a teacher, a loss, another head */
    VST_IMPORT_NOT_FINITE, /* taken, but with infinite values or NaN (as float32) */
    VST_IMPORT_MISSING,    /* from here on: nothing is imported */
    VST_IMPORT_UNEXPECTED,
    VST_IMPORT_TWICE, /* another tensor of the file is the same parameter */
    VST_IMPORT_WRONG_SHAPE,
    VST_IMPORT_WRONG_TYPE, /* whole numbers where weights should be */
    VST_IMPORT_FINDINGS
} vst_import_finding;

typedef struct vst_import_row {
    vst_import_finding finding;
    const char *name;        /* of the parameter, or else of the file's tensor; owned by the params or the weights */
    const vst_tensor *found; /* in the file, owned by the weights; NULL if missing */
    vst_shape wanted;        /* of the parameter; rank -1 if there is none */
} vst_import_row;

typedef struct vst_import_report {
    vst_import_row *rows; /* by finding, then in the order of the parameters or of the file */
    size_t count, capacity;
    size_t counts[VST_IMPORT_FINDINGS];
    size_t taken;             /* parameters that get their values from the file */
    const vst_naming *naming; /* whose names they have; NULL: the names here, which are timm's */
    char prefix[200];         /* what stood before them: "module.", "model.backbone." */
    char other[200];          /* what stands before a second set of the same names; "": there is none */
    bool split;               /* some stood behind other prefixes than that */
} vst_import_report;

typedef struct vst_import_options {
    bool reset_head;   /* the classifiers (all parameters whose shape depends on the number of classes) start afresh */
    bool no_antialias; /* position embeddings are made smaller as DeiT's own code does, not as timm does */
} vst_import_options;

/* Compares a file with a model's parameters, which need not be allocated. `report` is zeroed or cleared before. Misfits
 * are findings, not errors. */
VST_NODISCARD vst_status vst_import_compare(vst_import_report *report, const vst_model_config *model,
                                            const vst_params *params, const vst_weights *weights,
                                            const vst_import_options *options);

/* The same, and fills the parameters, which must be allocated, for that is where fresh values come from. Half, bfloat16
 * and double become float; num_batches_tracked may be missing. What stands before all of a model's names is taken off;
 * two sets of the same names are an error. If anything is missing, unexpected or wrong, nothing is
 * changed and the error says how many and what would mend it; the report has them all. */
VST_NODISCARD vst_status vst_import_params(vst_import_report *report, const vst_model_config *model, vst_params *params,
                                           const vst_weights *weights, const vst_import_options *options);

/* heads[i], one for each parameter: it belongs to a classifier, for its shape depends on the number of classes. */
VST_NODISCARD vst_status vst_import_heads(bool *heads, const vst_model_config *model, const vst_params *params);

size_t vst_import_problems(const vst_import_report *report);     /* findings that keep the file from being imported */
const char *vst_import_finding_name(vst_import_finding finding); /* "wrong shape"; static storage */
void vst_import_report_clear(vst_import_report *report);

/* How far the file is from a variant of the registry; 0: names and shapes fit exactly. */
typedef struct vst_import_candidate {
    const char *variant; /* static storage */
    char options[96]; /* of the family, with which it fits and without which it does not: "shortcut=pad"; mostly "" */
    int changes;      /* options in it */
    size_t problems;
    size_t unknown; /* tensors of the file that the model does not know, or that would be beside it */
} vst_import_candidate;

/* All variants, the nearest first (that which knows most of the file's tensors); *list is to be vst_free'd. A file
 * whose classifier has another number of classes fits, with "classes=10" in the options. *fitting: how many at the
 * list's beginning fit, with as few other options as possible. */
VST_NODISCARD vst_status vst_import_candidates(vst_import_candidate **list, size_t *count, size_t *fitting,
                                               const vst_weights *weights);
/* "resnet20_cifar with shortcut=pad, resnet18 and 3 more" */
void vst_import_list(char *out, size_t size, const vst_import_candidate *list, size_t count);
/* Whether the nearest knows so few of the file's tensors that it is a model of no family here. */
bool vst_import_is_foreign(const vst_import_candidate *nearest, const vst_weights *weights);

/* Which model a file's weights are of, and what they expect of an image. */
typedef struct vst_import_choice {
    const char *variant;         /* NULL: recognised by the tensors */
    const char *const *settings; /* "classes=10": options that the user gave, which are left as they are */
    int setting_count;
    const char *preprocessing; /* "timm", "torchvision", "torchvision:IMAGENET1K_V2"; NULL: by names and file's name */
    bool reset_head;
} vst_import_choice;

typedef struct vst_import_origin {
    const char *project; /* whose preprocessing it is: "torchvision", "timm", or the file beside it that says so; "" if
                            the user gave it or nobody did */
    const char *version; /* "IMAGENET1K_V1"; NULL: not told apart */
    const char *rival;   /* a version that it may be as well; NULL: none */
    bool unnamed;        /* nobody said how pixels are normalised: they are taken as 0 … 1 */
    char options[96];    /* that were found by trying: "shortcut=pad, classes=100" */
    char **labels;       /* of the model's classes, by config.json beside the file; NULL: none */
    int label_count;
    char beside[160]; /* what config.json said, and was taken: "names of 3 classes, image 384, patch 16"; "": nothing */
    bool squeezes;    /* the file's own program squeezes pictures that are not square; here their middle is cut out */
} vst_import_origin;
void vst_import_origin_clear(vst_import_origin *origin);

/* Makes the configuration: the variant, or the model of a model file's metadata, or the only one that fits; options
 * that the user gave; image, patch and preprocessing of Hugging Face's files beside it (hub.h); those of the family
 * with which the file fits, if it does not as it is; else preprocessing of the project whose names the tensors have. A
 * file that still does not fit is no error here. */
VST_NODISCARD vst_status vst_import_model(vst_model_config **out, vst_import_origin *origin, const vst_weights *weights,
                                          const vst_import_choice *choice);

/* Facts for a model file's "vistill.training": the file's name, format, entry and XXH3-64, what was done to it, whose
 * preprocessing it has, the date. `origin` NULL: nothing is said of it. */
VST_NODISCARD vst_status vst_import_facts(char **json, const vst_weights *weights, const vst_import_report *report,
                                          const vst_import_origin *origin);

#endif
