/* Sessions over models in memory, for use within recipes/: evaluation during training, teachers, reports, profiles. */
#ifndef VISTILL_RECIPES_INFER_MODEL_SESSION_H
#define VISTILL_RECIPES_INFER_MODEL_SESSION_H

#include "backbones/backbone.h"
#include "recipes/infer/session.h"
#include "recipes/model/model.h"
#include "vision/image/image.h"
#include "vision/plan/program.h"

/* `params` contains the model's parameters (and possibly others). Both must outlive the session. Taps and shapes are
 * available before the params are allocated; running needs them. Values may change between runs (vst_params_changed),
 * not during a run. */
VST_NODISCARD vst_status vst_session_create(vst_session **out, const vst_model_config *config, vst_params *params,
                                            const vst_session_options *options);
/* The same for a loaded model, whose parts must outlive the session; its class names and quantisation are used. */
VST_NODISCARD vst_status vst_session_create_model(vst_session **out, const vst_model *model,
                                                  const vst_session_options *options);

size_t vst_session_image_floats(const vst_session *session); /* of one image (C, H, W) */

/* Like vst_session_decode for a decoded image, which is overwritten; `scratch`: two images to overwrite. */
VST_NODISCARD vst_status vst_session_convert(const vst_session *session, vst_image *picture, vst_image scratch[2],
                                             float *image);

/* Creates the program of a batch size before the first run. */
VST_NODISCARD vst_status vst_session_prepare(vst_session *session, int batch);
/* Bytes of packed weights and of all existing contexts. */
size_t vst_session_bytes(vst_session *session);

/* Cost of a batch, node by node. */
typedef struct vst_session_profile {
    vst_profile_row *rows; /* in the order in which they run */
    size_t count;
    size_t packed_bytes, context_bytes;
    double flops; /* of one run */
} vst_session_profile;
/* Measures `runs` batches of grey images after one warm-up run; the times are medians, 0 without runs. The session must
 * have options.profile. `profile` must be {0}. */
VST_NODISCARD vst_status vst_session_measure(vst_session *session, int batch, int runs, vst_session_profile *profile);
/* Copies the rows of a context that ran outside a session; `profile` must have none. */
VST_NODISCARD vst_status vst_session_profile_rows(vst_session_profile *profile, const vst_context *context);
void vst_session_profile_clear(vst_session_profile *profile);

#endif
