/* Backbones: one file per family with a table of variants and a builder. A model is a family, its options and the
 * preprocessing it expects; parameter names are timm's. */
#ifndef VISTILL_BACKBONES_BACKBONE_H
#define VISTILL_BACKBONES_BACKBONE_H

#include "vision/base/option.h"
#include "vision/graph/graph.h"

VST_BEGIN_DECLS

/* What every family's options begin with; put VST_MODEL_COMMON_OPTIONS(type) first in its table. */
typedef struct vst_model_common {
    int image;    /* height and width of the input, pixels */
    int channels; /* 1 grey, 3 RGB */
    int classes;
    vst_option_list mean,
        std;           /* of the input in 0 … 1, per channel or one for all; empty: 0 and 1 (no normalisation) */
    double crop_pct;   /* evaluation: the image's shorter side is resized to image / crop_pct, the centre cut out */
    int interpolation; /* of that resizing: a vst_interpolation */
} vst_model_common;

#define VST_INTERPOLATIONS(X)                 \
    X(VST_INTERPOLATION_BICUBIC, "bicubic")   \
    X(VST_INTERPOLATION_BILINEAR, "bilinear") \
    X(VST_INTERPOLATION_LANCZOS, "lanczos") X(VST_INTERPOLATION_BOX, "box") X(VST_INTERPOLATION_NEAREST, "nearest")
typedef enum vst_interpolation { VST_CHOICE_ENUM(VST_INTERPOLATIONS) } vst_interpolation;

#define VST_MODEL_COMMON_OPTIONS(S, image_default, channels_default, classes_default)                                \
    VST_OPTION_INT(S, common.image, image_default, 4, 4096, "input height and width, pixels"),                       \
        VST_OPTION_INT(S, common.channels, channels_default, 1, 16, "input channels: 1 grey, 3 RGB"),                \
        VST_OPTION_INT(S, common.classes, classes_default, 1, 100000, "number of classes"),                          \
        VST_OPTION_LIST(S, common.mean, "", -1e6, 1e6, "mean of the input (pixels in 0..1), one or one a channel"),  \
        VST_OPTION_LIST(S, common.std, "", 1e-6, 1e6, "deviation of the input, one or one a channel"),               \
        VST_OPTION_DOUBLE(S, common.crop_pct, 1, 0.01, 1, "evaluation: share of the resized image that is cut out"), \
        VST_OPTION_CHOICE(S, common.interpolation, "bicubic", VST_CHOICE_TEXT(VST_INTERPOLATIONS),                   \
                          "evaluation: how images are resized")

/* Overrides for a variant: the normalisation of ImageNet, and timm's mean and deviation of one half. */
#define VST_IMAGENET_NORM "mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]"
#define VST_HALF_NORM "mean=0.5, std=0.5"

typedef struct vst_backbone_variant {
    const char *name;      /* "resnet20_cifar" */
    const char *overrides; /* "depth=20, layers=[2, 2, 2, 2]": options that differ from the table's defaults */
} vst_backbone_variant;

typedef struct vst_backbone {
    const char *name, *help;
    const vst_option *options;            /* table of the options structure */
    size_t options_size;                  /* its sizeof; its first member is a vst_model_common named common */
    const vst_backbone_variant *variants; /* ends with {NULL, NULL} */
    /* Emits the forward pass from the normalised image (N, C, H, W) and taps "logits" (N, classes), "logits_dist" if
     * there is a distillation head, and the family's features. Errors go to the graph. */
    void (*build)(vst_graph *graph, vst_value image, const void *options);
    /* The name here of a tensor that other projects call `name` (torchvision, the authors' own code): written to `out`;
     * false if this family knows no such name. NULL: there are none. */
    bool (*rename)(const void *options, const char *name, char *out, size_t size);
} vst_backbone;

/* All families, in alphabetical order; index < vst_backbone_count(). */
size_t vst_backbone_count(void);
const vst_backbone *vst_backbone_at(size_t index);

/* A model's description: a family with filled-in options. */
typedef struct vst_model_config {
    const vst_backbone *backbone;
    const char *variant; /* static storage */
    void *options;       /* owned; begins with a vst_model_common */
} vst_model_config;

/* Finds a variant by name and sets its options; unknown names are an error that lists near ones. */
VST_NODISCARD vst_status vst_model_config_create(vst_model_config **out, const char *variant);
void vst_model_config_destroy(vst_model_config *model);
/* Sets one option ("dim", "96"). */
VST_NODISCARD vst_status vst_model_config_set(vst_model_config *model, const char *key, const char *value);
const vst_model_common *vst_model_common_of(const vst_model_config *model);

/* The description as JSON for a model file's metadata, {"variant": …, "options": {…}}, to be vst_free'd; and back. */
char *vst_model_config_to_json(const vst_model_config *model);
VST_NODISCARD vst_status vst_model_config_from_json(vst_model_config **out, const char *json);

/* Builds the graph of one batch: input "image" (batch, channels, image, image) in 0 … 1, normalisation, backbone. */
void vst_model_build(vst_graph *graph, const vst_model_config *model, int batch);
/* The same from an image (N, channels, image, image) in 0 … 1 that the graph has already. */
void vst_model_build_on(vst_graph *graph, const vst_model_config *model, vst_value image);
/* The value that a model answers with: its "logits", or, with a distillation head, the mean of "logits" and
 * "logits_dist" (as DeiT's code does). The graph must hold the model; a model without logits is the graph's error. */
vst_value vst_model_scores(vst_graph *graph);
/* The normalisation of one channel: (x - mean) / std; 0 and 1 where the model has none. */
void vst_model_normalization(const vst_model_config *model, int channel, double *mean, double *std);

VST_END_DECLS
#endif
