/* Sessions over models in memory, for the rest of recipes/: evaluation during training, teachers, reports, profiles. */
#ifndef VISTILL_RECIPES_INFER_MODEL_SESSION_H
#define VISTILL_RECIPES_INFER_MODEL_SESSION_H

#include "backbones/backbone.h"
#include "recipes/infer/session.h"
#include "recipes/model/model.h"
#include "vision/image/image.h"
#include "vision/plan/program.h"

/* `params` holds the model's parameters (others may be there too), both outlive the session. Taps and shapes can be
 * asked for before the params are allocated, answers cannot. Values may change between runs (vst_params_changed), not
 * during one. */
VST_NODISCARD vst_status vst_session_create(vst_session **out, const vst_model_config *config, vst_params *params,
                                            const vst_session_options *options);
/* The same over a model file that was read before, and outlives the session; its class names are used. */
VST_NODISCARD vst_status vst_session_create_model(vst_session **out, const vst_model *model,
                                                  const vst_session_options *options);

size_t vst_session_image_floats(const vst_session *session); /* of one image (C, H, W) */

/* As vst_session_decode, of a decoded picture, which is changed; `scratch`: two images that are overwritten. */
VST_NODISCARD vst_status vst_session_convert(const vst_session *session, vst_image *picture, vst_image scratch[2],
                                             float *image);

/* Makes the program of a batch size before the first run asks for it. */
VST_NODISCARD vst_status vst_session_prepare(vst_session *session, int batch);
/* Bytes of the packed weights and of all contexts there are. */
size_t vst_session_bytes(vst_session *session);

/* What a batch costs, node by node. */
typedef struct vst_session_profile {
    vst_profile_row *rows; /* in the order in which they run */
    size_t count;
    size_t packed_bytes, context_bytes;
    double flops; /* of one run */
} vst_session_profile;
/* Runs `runs` batches of grey images, after one that warms up. The session has options.profile. `profile` starts as
 * {0}. */
VST_NODISCARD vst_status vst_session_measure(vst_session *session, int batch, int runs, vst_session_profile *profile);
/* The rows of a context that ran outside of a session; `profile` has none yet. */
VST_NODISCARD vst_status vst_session_profile_rows(vst_session_profile *profile, const vst_context *context);
void vst_session_profile_clear(vst_session_profile *profile);

#endif
