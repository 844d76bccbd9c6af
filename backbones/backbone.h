/* Backbones: one file per family with a table of variants and a builder. A model is described by its family, options
 * and preprocessing; parameter names follow timm. */
#ifndef VISTILL_BACKBONES_BACKBONE_H
#define VISTILL_BACKBONES_BACKBONE_H

#include "vision/base/option.h"
#include "vision/graph/graph.h"

VST_BEGIN_DECLS

/* The first member of every family's options; its table must begin with VST_MODEL_COMMON_OPTIONS(type). */
typedef struct vst_model_common {
    int image;    /* height and width of the input, pixels */
    int channels; /* 1 grey, 3 RGB */
    int classes;
    vst_option_list mean,
        std;         /* normalisation of the input in 0 … 1, one per channel or one for all; empty: none (0 and 1) */
    double crop_pct; /* evaluation: the shorter side is resized to image / crop_pct, then the centre is cropped */
    int interpolation; /* evaluation: filter of the resizing, a vst_interpolation */
} vst_model_common;

/* clang-format off */
#define VST_INTERPOLATIONS(X) \
    X(VST_INTERPOLATION_BICUBIC, "bicubic") \
    X(VST_INTERPOLATION_BILINEAR, "bilinear") \
    X(VST_INTERPOLATION_LANCZOS, "lanczos") \
    X(VST_INTERPOLATION_BOX, "box") \
    X(VST_INTERPOLATION_NEAREST, "nearest")
/* clang-format on */
typedef enum vst_interpolation { VST_CHOICE_ENUM(VST_INTERPOLATIONS) } vst_interpolation;

#define VST_MODEL_COMMON_OPTIONS(S, image_default, channels_default, classes_default)                                 \
    VST_OPTION_INT(S, common.image, image_default, 4, 4096, "input height and width, pixels"),                        \
        VST_OPTION_INT(S, common.channels, channels_default, 1, 16, "input channels: 1 grey, 3 RGB"),                 \
        VST_OPTION_INT(S, common.classes, classes_default, 1, 100000, "number of classes"),                           \
        VST_OPTION_LIST(S, common.mean, "", -1e6, 1e6, "mean of the input (pixels in 0..1), one or one per channel"), \
        VST_OPTION_LIST(S, common.std, "", 1e-6, 1e6, "standard deviation of the input, one or one per channel"),     \
        VST_OPTION_DOUBLE(S, common.crop_pct, 1, 0.01, 1, "evaluation: crop size / size of the resized image"),       \
        VST_OPTION_CHOICE(S, common.interpolation, "bicubic", VST_CHOICE_TEXT(VST_INTERPOLATIONS),                    \
                          "evaluation: filter of the resizing")

/* Overrides for variants: ImageNet's mean and std, and timm's 0.5. */
#define VST_IMAGENET_NORM "mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]"
#define VST_HALF_NORM "mean=0.5, std=0.5"

/* ---- Names of other projects ---- */

/* A tensor name of another project, or its beginning, and ours. "{a}" in `theirs` matches a number (the same one for
 * the same letter); `ours` may contain "{a}", "{a+1}", "{a-1}" and "{a/2}". The rest of the name is kept. */
typedef struct vst_name_pair {
    const char *theirs, *ours; /* ours NULL: a known tensor that is not needed */
    int part, parts; /* part `part` of `parts` equal parts of our tensor, by rows (query, key, value); 0: the whole */
} vst_name_pair;

/* The preprocessing that a project's weights expect, where it differs from the variant's options. */
typedef struct vst_preprocessing {
    const char *variant;   /* NULL: any */
    const char *file;      /* a part of the file name; NULL: any */
    const char *version;   /* for messages: "IMAGENET1K_V2"; NULL: only one version */
    const char *overrides; /* "crop_pct=0.875, interpolation=bilinear" */
} vst_preprocessing;

typedef struct vst_foreign_name {
    char ours[256]; /* "" for a tensor that is not needed */
    int part, parts;
} vst_foreign_name;

/* The tensor names of another project for a family, and the preprocessing of its weights. */
typedef struct vst_naming {
    const char *project;        /* "torchvision" */
    const vst_name_pair *names; /* the first match is used; ends with {0} */
    /* Used instead of `names` if the options matter: writes our name, false if it is unknown. */
    bool (*translate)(const void *options, const char *name, char *out, size_t size);
    const vst_preprocessing *preprocessing; /* the first match is used; ends with {0}; NULL: the variant's own */
    bool timm_names;                        /* names are those of timm, so that only the file name tells the project */
} vst_naming;

/* Returns false for an unknown name. */
bool vst_naming_translate(const vst_naming *naming, const void *options, const char *name, vst_foreign_name *out);

/* ---- Families ---- */

typedef struct vst_backbone_variant {
    const char *name;      /* "resnet20_cifar" */
    const char *overrides; /* "depth=20, layers=[2, 2, 2, 2]": options that differ from the table's defaults */
} vst_backbone_variant;

typedef struct vst_backbone {
    const char *name, *help;
    const vst_option *options; /* table of the options structure */
    size_t options_size;       /* sizeof the structure, whose first member is a vst_model_common named common */
    const vst_backbone_variant *variants; /* ends with {NULL, NULL} */
    /* Emits the forward pass from the normalised image (N, C, H, W) and taps "logits" (N, classes), "logits_dist" if
     * there is a distillation head, and the family's features. Errors are set on the graph. */
    void (*build)(vst_graph *graph, vst_value image, const void *options);
    const vst_naming *namings; /* of other projects; ends with {0}; NULL: none */
} vst_backbone;

/* All families, in alphabetical order; index < vst_backbone_count(). */
size_t vst_backbone_count(void);
const vst_backbone *vst_backbone_at(size_t index);

/* The configuration of a model: a family and its options. */
typedef struct vst_model_config {
    const vst_backbone *backbone;
    const char *variant; /* static storage */
    void *options;       /* owned; begins with a vst_model_common */
} vst_model_config;

/* Finds a variant by name and sets its options; an unknown name is an error whose message lists similar ones. */
VST_NODISCARD vst_status vst_model_config_create(vst_model_config **out, const char *variant);
void vst_model_config_destroy(vst_model_config *model);
/* Sets several options, written as in a variant: "depth=20, layers=[2, 2, 2, 2]". */
VST_NODISCARD vst_status vst_model_config_override(vst_model_config *model, const char *overrides);
/* Sets one option ("dim", "96"). */
VST_NODISCARD vst_status vst_model_config_set(vst_model_config *model, const char *key, const char *value);
const vst_model_common *vst_model_common_of(const vst_model_config *model);

/* Converts the configuration to JSON for a model file's metadata, {"variant": …, "options": {…}}, and back. The caller
 * frees the text with vst_free; NULL if out of memory. */
char *vst_model_config_to_json(const vst_model_config *model);
VST_NODISCARD vst_status vst_model_config_from_json(vst_model_config **out, const char *json);

/* Builds the graph of one batch: input "image" (batch, channels, image, image) in 0 … 1, normalisation, backbone. */
void vst_model_build(vst_graph *graph, const vst_model_config *model, int batch);
/* The same for an existing value (N, channels, image, image) in 0 … 1. */
void vst_model_build_on(vst_graph *graph, const vst_model_config *model, vst_value image);
/* The model's prediction (N, classes): its "logits", or, with a distillation head, the mean of "logits" and
 * "logits_dist" (as in DeiT's code). The graph must contain the model; a missing tap is set as the graph's error. */
vst_value vst_model_scores(vst_graph *graph);
/* The normalisation of one channel: (x - mean) / std; mean 0 and std 1 if the model has none. */
void vst_model_normalization(const vst_model_config *model, int channel, double *mean, double *std);

VST_END_DECLS
#endif
