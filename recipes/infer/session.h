/* The way from a model file to answers: encoded images or tensors in; scores, classes, taps and attention out.
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
 * A session makes a program for each batch size when that is first asked for, all of them over the same packed weights,
 * and a context for each run that is under way. Any number of threads may use it at once; one opens and one closes it.
 * A result is used by one thread at a time. A failing function returns a status and leaves a message (status.h). */
#ifndef VISTILL_RECIPES_INFER_SESSION_H
#define VISTILL_RECIPES_INFER_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"
#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

typedef struct vst_session vst_session;

typedef struct vst_session_options {
    int threads;             /* OpenMP threads of each run; 0: as many as the opening thread really has (1 within a
                                parallel region). A run in a place with fewer is VST_ERROR_UNSUPPORTED. The process's
                                own setting is left alone */
    int image;               /* side of the tensors that it is given, in pixels; one that is not the model's is resized
                                within the model (bicubic). 0: the model's */
    const char *const *taps; /* values besides the scores, by the names that distillation terms use: "blocks.3",
                                "features.-1", "layer4" */
    int tap_count;
    bool taps_only; /* no scores: only what taps and attention need is computed */
    bool attention; /* attention maps, of models that have class tokens and blocks of attention */
    bool profile;   /* each node is timed */
    int programs;   /* batch sizes that are kept ready; beyond that the least recently used one goes. 0: 8 */
} vst_session_options;

/* Reads a model file. `options` NULL: all zero. */
VST_NODISCARD vst_status vst_session_open(vst_session **out, const char *path, const vst_session_options *options);
void vst_session_close(vst_session *session); /* while no run is under way; NULL: nothing */

/* ---- What it is ---- */

int vst_session_classes(const vst_session *session);
/* Owned by the session; "" where no name is known. */
const char *vst_session_class_name(const vst_session *session, int index);
int vst_session_image(const vst_session *session);    /* height and width of the tensors that it takes, pixels */
int vst_session_channels(const vst_session *session); /* 1: grey, 3: RGB */

typedef struct vst_session_tap {
    const char *name; /* as the model calls it: "blocks.11" for "features.-1"; owned by the session */
    vst_shape shape;  /* for one image; the first dimension grows with the batch */
    size_t floats;    /* of one image */
} vst_session_tap;
/* Index: that of the options' taps. */
const vst_session_tap *vst_session_tap_at(const vst_session *session, int index);
/* One attention map of side x side patches for each token: the class token, then the distillation token if there is
 * one. Both 0 without attention. */
int vst_session_attention_tokens(const vst_session *session);
int vst_session_attention_side(const vst_session *session);

/* ---- Images ---- */

/* A JPEG or PNG file in memory. */
typedef struct vst_encoded {
    const void *bytes;
    size_t size;
} vst_encoded;

/* The file as the tensor that a run takes: floats (C, H, W) in 0 … 1, resized and cropped as in evaluation. A damaged
 * file is VST_ERROR_FORMAT. */
VST_NODISCARD vst_status vst_session_decode(const vst_session *session, vst_encoded file, float *image);

/* ---- Answers ---- */

enum { VST_HEAD_CLASS, VST_HEAD_DISTILLED, VST_HEADS };

/* Starts as {0} and may be filled again by the same session; its arrays belong to it. All are row-major. */
typedef struct vst_result {
    int count, classes;
    float *scores;           /* (count, classes): logits; with a distillation head the mean of both heads, as DeiT's */
    float *heads[VST_HEADS]; /* (count, classes): of each of two heads; NULL with a single head */
    float **taps;            /* each (count, …) as vst_session_tap_at says */
    float *attention;        /* (count, tokens, side, side): attention rollout; NULL without attention */
    int tap_count;
    size_t capacity; /* images that there is room for */
} vst_result;

/* Answers for images (count, C, H, W), floats in 0 … 1; count is at least 1. */
VST_NODISCARD vst_status vst_session_run(vst_session *session, const float *images, int count, vst_result *result);
/* The same for files, decoded one after the other. The message of a broken one begins with its index. */
VST_NODISCARD vst_status vst_session_classify(vst_session *session, const vst_encoded *files, int count,
                                              vst_result *result);
void vst_result_clear(vst_result *result);

typedef struct vst_class_score {
    int index;
    const char *name; /* owned by the session; "" where no name is known */
    float score;
    double probability; /* softmax of the scores */
} vst_class_score;

/* The k best of one image's scores, best first, of equal ones the first; k is at least 1 and at most the number of
 * classes, and `top` has room for it. Scores that are not finite are VST_ERROR_NUMERIC. */
VST_NODISCARD vst_status vst_session_top(const vst_session *session, const float *scores, int k, vst_class_score *top);

VST_END_DECLS
#endif
