/* How a model's products compute on 8-bit integers, as a model file says it. Key "vistill.quantization" (JSON):
 * {"products": [{"name": scope, "scale": of the input, "zero_point": of the input}, …]}. The weight of each product is
 * a tensor I8 (vision/plan/quant.h); SCOPE.weight_scale (out) is the step of each output channel. In memory weights are
 * float32.
 */
#ifndef VISTILL_RECIPES_MODEL_QUANTIZATION_H
#define VISTILL_RECIPES_MODEL_QUANTIZATION_H

#include "vision/graph/params.h"
#include "vision/plan/quant.h"

VST_BEGIN_DECLS

#define VST_QUANTIZATION_KEY "vistill.quantization"

typedef struct vst_quantization {
    vst_quant_product *products; /* names owned */
    size_t count;
} vst_quantization;
void vst_quantization_clear(vst_quantization *quantization);
VST_NODISCARD vst_status vst_quantization_add(vst_quantization *quantization, const char *scope, float scale,
                                              int zero_point);

/* Reads the metadata of a file; nothing from a file without it. The weights are read by vst_params_load. */
VST_NODISCARD vst_status vst_quantization_read(vst_quantization *out, const vst_safetensors *file);

/* The metadata's text, to be freed with vst_free. */
VST_NODISCARD vst_status vst_quantization_json(char **out, const vst_quantization *quantization);

/* The tensors of one product as they are written. The caller frees `memory`, which holds them, with vst_free. */
typedef struct vst_integer_weight {
    void *memory;
    int8_t *integers; /* in the weight's shape */
    float *steps;     /* (out) */
    char *steps_name; /* "SCOPE.weight_scale" */
    vst_shape steps_shape;
} vst_integer_weight;
/* weight: float32 (out, in, …), named "SCOPE.weight". */
VST_NODISCARD vst_status vst_integer_weight_create(vst_integer_weight *out, const vst_tensor *weight);

VST_END_DECLS
#endif
