/* Model files: safetensors whose metadata says all that inference needs. Keys: "vistill.format" ("1"), "vistill.model"
 * (JSON of backbones/backbone.h), "vistill.classes" (JSON list of names), "vistill.training" (JSON: recipe name, epoch,
 * top-1, data set, date; or which file the weights were imported from). A checkpoint is a model file with the
 * optimiser's tensors and "vistill.checkpoint" (JSON: epoch, step, best, recipe hash) besides. */
#ifndef VISTILL_RECIPES_MODEL_MODEL_H
#define VISTILL_RECIPES_MODEL_MODEL_H

#include "backbones/backbone.h"
#include "vision/graph/params.h"

VST_BEGIN_DECLS

typedef struct vst_model {
    vst_model_config *config;
    vst_params *params; /* allocated, loaded; no gradients */
    char **class_names; /* class_count strings */
    int class_count;
    char *training; /* JSON text, NULL if absent */
} vst_model;

/* Builds the model's graph for one image, which declares its parameters; nothing is allocated for them. Both are the
 * caller's to destroy, the graph first, also after a failure. */
VST_NODISCARD vst_status vst_model_declare(vst_graph **graph, vst_params **params, const vst_model_config *config);

/* Reads a model file: builds the model's graph once to declare its parameters, then loads them by name. Warns in the
 * log of weights whose normalisation nobody named (below). */
VST_NODISCARD vst_status vst_model_read(vst_model **out, const char *path);
void vst_model_destroy(vst_model *model);

/* Reads "vistill.classes": `count` names, each and the list to be vst_free'd. `path` is for messages. */
VST_NODISCARD vst_status vst_class_names_read(char ***names, const char *json, int count, const char *path);

/* "preprocessing" of weights that were imported without anybody saying how pixels are normalised. */
#define VST_NORMALISATION_UNNAMED "unnamed"
/* Whether that is so: pixels go in as 0 … 1, which is wrong for most models. */
bool vst_model_is_unnamed(const vst_model *model);
/* Warns of it in the log; `path` is the model's file. */
void vst_warn_unnamed(const char *path);

/* Writes parameters (and `extra` tensors and metadata, for checkpoints) atomically. */
typedef struct vst_model_content {
    const vst_model_config *config;
    const vst_params *params;
    const float *values; /* of the trained bucket instead of the params' own (the EMA), or NULL */
    const char *const *class_names;
    int class_count;
    const char *training; /* JSON or NULL */
    const vst_tensor *extra;
    size_t extra_count;
    const vst_metadata *metadata;
    size_t metadata_count;
} vst_model_content;
VST_NODISCARD vst_status vst_model_write(const char *path, const vst_model_content *content);

VST_END_DECLS
#endif
