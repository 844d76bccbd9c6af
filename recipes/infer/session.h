/* Inference with a model file: takes encoded images or tensors and returns scores, classes, taps and attention.
 *
 *     vst_session *session;
 *     vst_result result = {0};
 *     vst_class_score top[5];
 *     VST_TRY(vst_session_open(&session, "student.safetensors", NULL));
 *     VST_TRY(vst_session_classify(session, &(vst_encoded){bytes, size}, 1, &result));
 *     VST_TRY(vst_session_top(session, result.scores, 5, top));
 *     vst_result_clear(&result);
 *     vst_session_close(session);
 *
 * A session creates a program for each batch size when it is first needed; all programs share their packed weights.
 * Each concurrent run has its own context. Any number of threads may use a session at the same time; one thread
 * opens it and one closes it. A result may be used by one thread at a time. Functions that fail return a status and set
 * the error message (status.h). */
#ifndef VISTILL_RECIPES_INFER_SESSION_H
#define VISTILL_RECIPES_INFER_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"
#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

typedef struct vst_session vst_session;

typedef struct vst_session_options {
    int threads; /* OpenMP threads of each run; 0: as many as the opening thread gets (1 within a parallel region). A
                    run that gets fewer is VST_ERROR_UNSUPPORTED. The process's own setting is not changed */
    int image;   /* height and width of the input tensors, pixels; if it is not the model's size, the model resizes them
                    (bicubic). 0: the model's size */
    const char *const *taps; /* values to return besides the scores, named as in distillation terms: "blocks.3",
                                "features.-1", "layer4" */
    int tap_count;
    bool taps_only; /* compute only taps and attention, no scores */
    bool attention; /* attention maps, for models with a class token and attention blocks */
    bool profile;   /* time every node */
    bool bf16;      /* products in bfloat16, summed in float32; VST_ERROR_UNSUPPORTED on processors without AVX-512 and
                       for models on 8-bit integers. Inputs and results are float32 */
    int programs;   /* number of batch sizes whose programs are kept; the least recently used one is dropped. 0: 8 */
} vst_session_options;

/* Loads a model file. `options` may be NULL (all zero). */
VST_NODISCARD vst_status vst_session_open(vst_session **out, const char *path, const vst_session_options *options);
void vst_session_close(vst_session *session); /* no run may be active; NULL allowed */

/* ---- Properties ---- */

int vst_session_classes(const vst_session *session);
/* Owned by the session; "" if the name is unknown. */
const char *vst_session_class_name(const vst_session *session, int index);
int vst_session_image(const vst_session *session);    /* height and width of the input tensors, pixels */
int vst_session_channels(const vst_session *session); /* 1: grey, 3: RGB */

typedef struct vst_session_tap {
    const char *name; /* name in the model, such as "blocks.11" for "features.-1"; owned by the session */
    vst_shape shape;  /* for one image; the first dimension is multiplied by the batch */
    size_t floats;    /* per image */
} vst_session_tap;
/* `index` is that in the options' taps. */
const vst_session_tap *vst_session_tap_at(const vst_session *session, int index);
/* Number of attention maps of side x side patches: one for the class token, one for the distillation token if there is
 * one. Both functions return 0 without attention. */
int vst_session_attention_tokens(const vst_session *session);
int vst_session_attention_side(const vst_session *session);

/* ---- Images ---- */

/* A JPEG or PNG file in memory. */
typedef struct vst_encoded {
    const void *bytes;
    size_t size;
} vst_encoded;

/* Decodes a file to the input of a run: floats (C, H, W) in 0 … 1, resized and cropped as in evaluation. A damaged file
 * is VST_ERROR_FORMAT. */
VST_NODISCARD vst_status vst_session_decode(const vst_session *session, vst_encoded file, float *image);

/* ---- Results ---- */

enum { VST_HEAD_CLASS, VST_HEAD_DISTILLED, VST_HEADS };

/* Initialise it with {0}. It may be reused with the same session. It owns its arrays, which are row-major. */
typedef struct vst_result {
    int count, classes;
    float *scores;           /* (count, classes): logits; with a distillation head the mean of both heads, as in DeiT */
    float *heads[VST_HEADS]; /* (count, classes): logits of each of two heads; NULL with a single head */
    float **taps;            /* each (count, …), see vst_session_tap_at */
    float *attention;        /* (count, tokens, side, side): attention rollout; NULL without attention */
    int tap_count;
    size_t capacity; /* in images */
} vst_result;

/* Runs the model on images (count, C, H, W), floats in 0 … 1; count is at least 1. */
VST_NODISCARD vst_status vst_session_run(vst_session *session, const float *images, int count, vst_result *result);
/* The same for files, decoded one after the other. The message for a broken file begins with its index. */
VST_NODISCARD vst_status vst_session_classify(vst_session *session, const vst_encoded *files, int count,
                                              vst_result *result);
void vst_result_clear(vst_result *result);

typedef struct vst_class_score {
    int index;
    const char *name; /* owned by the session; "" if the name is unknown */
    float score;
    double probability; /* softmax of the scores */
} vst_class_score;

/* The k best scores of one image, best first, of equal ones the first; k is at least 1 and at most the number of
 * classes, and `top` has room for k. Scores that are not finite are VST_ERROR_NUMERIC. */
VST_NODISCARD vst_status vst_session_top(const vst_session *session, const float *scores, int k, vst_class_score *top);

VST_END_DECLS
#endif
