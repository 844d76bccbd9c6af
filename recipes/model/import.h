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
    size_t taken; /* parameters that get their values from the file */
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
 * and double become float; num_batches_tracked may be missing. If anything is missing, unexpected or wrong, nothing is
 * changed and the error says how many and what would mend it; the report has them all. */
VST_NODISCARD vst_status vst_import_params(vst_import_report *report, const vst_model_config *model, vst_params *params,
                                           const vst_weights *weights, const vst_import_options *options);

/* heads[i], one for each parameter: it belongs to a classifier, for its shape depends on the number of classes. */
VST_NODISCARD vst_status vst_import_heads(bool *heads, const vst_model_config *model, const vst_params *params);

size_t vst_import_problems(const vst_import_report *report);     /* findings that keep the file from being imported */
const char *vst_import_finding_name(vst_import_finding finding); /* "wrong shape"; static storage */
void vst_import_report_clear(vst_import_report *report);

/* How far the file is from a variant of the registry as it stands; 0: names and shapes fit exactly. */
typedef struct vst_import_candidate {
    const char *variant; /* static storage */
    size_t problems;
    size_t unknown; /* those among them that are tensors of the file which the model does not know */
} vst_import_candidate;

/* All variants, the nearest first (that which knows most of the file's tensors); *list is to be vst_free'd. */
VST_NODISCARD vst_status vst_import_candidates(vst_import_candidate **list, size_t *count, const vst_weights *weights);

/* Facts for a model file's "vistill.training": the file's name, format, entry and XXH3-64, what was done to it, the
 * date. */
VST_NODISCARD vst_status vst_import_facts(char **json, const vst_weights *weights, const vst_import_report *report);

#endif
