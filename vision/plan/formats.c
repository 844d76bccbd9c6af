/* Chooses the dtype in which each value is stored, and describes the conversions. */
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"
#include "vision/plan/internal.h"

/* ---- the policy -------------------------------------------------------------------------------------------------- */

/* True if the entry names this value: a tap, or scope and operation of its node. */
static bool is_named(const vst_graph *graph, int value, const char *name) {
    const vsti_node *node = &graph->nodes[graph->values[value].node];
    const size_t scope = strlen(node->name);
    for (size_t i = 0; i < graph->tap_count; i++)
        if (graph->taps[i].value == value && strcmp(graph->taps[i].name, name) == 0) return true;
    return node->outputs[0] == value && strncmp(name, node->name, scope) == 0 && name[scope] == ' ' &&
           strcmp(name + scope + 1, node->operation->name) == 0;
}

static vst_status check_entry(const vst_quant_entry *entry, const vst_shape *shape) {
    char text[VST_SHAPE_TEXT];
    const bool integer = entry->dtype == VST_I8 || entry->dtype == VST_U8;
    if (!integer && entry->dtype != VST_F32 && entry->dtype != VST_BF16)
        return vst_fail(VST_ERROR_UNSUPPORTED, "%s cannot be kept as %s: F32, BF16, I8 or U8 is possible", entry->name,
                        vst_dtype_name(entry->dtype));
    if (!integer) return VST_OK;
    const int64_t channels = shape->rank > 1 ? shape->dim[1] : 1;
    if (entry->scale_count != 1 && entry->scale_count != channels)
        return vst_fail(VST_ERROR_ARGUMENT, "%s %s has %d scales: 1 or %lld are possible", entry->name,
                        vst_shape_text(shape, text), entry->scale_count, (long long)channels);
    for (int i = 0; i < entry->scale_count; i++)
        if (!(entry->scales[i] > 0))
            return vst_fail(VST_ERROR_ARGUMENT, "scale %d of %s is %g: scales are positive", i, entry->name,
                            (double)entry->scales[i]);
    if (entry->zero_point && entry->dtype == VST_I8)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has the zero point %d: I8 has none", entry->name, entry->zero_point);
    return VST_OK;
}

static vst_status apply_entry(vsti_lowering *lowering, const vst_quant_entry *entry) {
    const vst_graph *graph = lowering->graph;
    bool found = false;
    for (size_t i = 1; i < graph->value_count; i++) {
        if (graph->values[i].kind != VST_VALUE_NODE || !is_named(graph, (int)i, entry->name)) continue;
        const vst_status status = check_entry(entry, vsti_shape(graph, (int)i));
        if (status != VST_OK) return status;
        const bool integer = entry->dtype == VST_I8 || entry->dtype == VST_U8;
        lowering->stored[i] = (stored){entry->dtype, integer ? entry : NULL, entry->dtype != VST_F32};
        found = true;
    }
    if (found) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND, "no value is named %s: a tap's name, or scope and operation as in a profile",
                    entry->name);
}

/* ---- products on 8-bit integers ---- */

static int find_product(const vst_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].operation->quantizable && strcmp(graph->nodes[i].name, name) == 0) return (int)i;
    return -1;
}

static vst_status check_product(const vst_graph *graph, const vst_quant_product *product, int node) {
    if (node < 0)
        return vst_fail(VST_ERROR_NOT_FOUND, "no product is named %s: the scope of a linear or conv2d is wanted",
                        product->name);
    if (!(product->scale > 0) || product->zero_point < 0 || product->zero_point > 255)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: the scale %g is positive, the zero point %d is 0 … 255", product->name,
                        (double)product->scale, product->zero_point);
    if (graph->values[graph->nodes[node].inputs[1]].kind != VST_VALUE_PARAMETER)
        return vst_fail(VST_ERROR_UNSUPPORTED, "%s: its weight is no parameter, so it cannot be quantised",
                        product->name);
    return VST_OK;
}

/* Its nodes: a layer may be emitted twice, for all tokens and for the first tokens only. */
static vst_status apply_product(vsti_lowering *lowering, const vst_quant_product *product, product_scale *scale) {
    const vst_graph *graph = lowering->graph;
    const int first = find_product(graph, product->name);
    const vst_status status = check_product(graph, product, first);
    if (status != VST_OK) return status;
    scale->scale = product->scale;
    scale->entry = (vst_quant_entry){product->name, VST_U8, &scale->scale, 1, product->zero_point};
    for (size_t i = (size_t)first; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        if (!node->operation->quantizable || strcmp(node->name, product->name) != 0) continue;
        const vst_quant_entry *known = lowering->stored[node->inputs[0]].scale;
        if (known && (known->scales[0] != product->scale || known->zero_point != product->zero_point))
            return vst_fail(VST_ERROR_ARGUMENT, "%s and %s read the same value: their scales must be equal",
                            known->name, product->name);
        lowering->quantized[i] = true;
        lowering->stored[node->inputs[0]].scale = &scale->entry;
    }
    return VST_OK;
}

static vst_status apply_products(vsti_lowering *lowering, const vst_program_options *options) {
    const vst_quant *quant = options->quant;
    if (!quant || !quant->product_count) return VST_OK;
    if (options->mode == VST_TRAIN)
        return vst_fail(VST_ERROR_UNSUPPORTED, "products on 8-bit integers are for inference");
    lowering->product_scales = vst_calloc(quant->product_count, sizeof *lowering->product_scales);
    if (!lowering->product_scales) return vst_fail_memory(quant->product_count * sizeof *lowering->product_scales);
    for (size_t i = 0; i < quant->product_count; i++) {
        const vst_status status = apply_product(lowering, &quant->products[i], &lowering->product_scales[i]);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

const vst_quant_entry *vsti_quantized_input(const vsti_lowering *lowering, const vsti_node *node) {
    return lowering->quantized[node - lowering->graph->nodes] ? lowering->stored[node->inputs[0]].scale : NULL;
}

/* True if node `reader` adds the value, as uint8, to a product on integers whose own output is uint8. */
static bool adds_uint8(const vsti_lowering *lowering, int reader, int value) {
    const vsti_fusions *fusions = &lowering->fusions;
    const int host = fusions->host ? fusions->host[reader] : -1;
    return host >= 0 && host != reader && lowering->quantized[host] && fusions->fusion[host].residual == value &&
           !lowering->stored[value].scale->zero_point && vsti_quantized_output(lowering, fusions->fusion[host].output);
}

const vst_quant_entry *vsti_quantized_output(const vsti_lowering *lowering, int value) {
    const vst_graph *graph = lowering->graph;
    const vst_quant_entry *scale = lowering->stored[value].scale;
    if (!scale || lowering->stored[value].dtype != VST_F32 || lowering->last_use[value] >= (int)graph->node_count)
        return NULL;
    for (size_t i = 0; i < graph->node_count; i++)
        for (int k = 0; lowering->needed[i] && k < graph->nodes[i].input_count; k++)
            if (graph->nodes[i].inputs[k] == value && (k || !lowering->quantized[i]) &&
                !adds_uint8(lowering, (int)i, value))
                return NULL;
    return scale;
}

bool vsti_writes_uint8(const vsti_lowering *lowering, int value, vsti_uint8 *to) {
    const vst_quant_entry *entry = vsti_quantized_output(lowering, value);
    if (entry) *to = (vsti_uint8){entry->scales[0], entry->zero_point};
    return entry != NULL;
}

/* ---- products in bf16 ---- */

/* True if a reader takes the value as bf16; `accepted` is known for the outputs of all later nodes. */
static bool takes_bf16(const vsti_node *reader, int input, const bool *accepted) {
    const vsti_operation *operation = reader->operation;
    if (operation->variadic || !(operation->bf16_in & 1u << input)) return false;
    return !operation->bf16_alike || accepted[reader->outputs[0]];
}

/* From the last node to the first: a value may be bf16 if all that read it take it so. What is read after the last node
 * is an output and stays float32. */
static void find_accepted(const vsti_lowering *lowering, bool *accepted) {
    const vst_graph *graph = lowering->graph;
    for (size_t i = 0; i < graph->value_count; i++)
        accepted[i] = lowering->last_use[i] >= 0 && lowering->last_use[i] < (int)graph->node_count;
    for (size_t i = graph->node_count; i-- > 0;)
        for (int k = 0; lowering->needed[i] && k < graph->nodes[i].input_count; k++)
            if (!takes_bf16(&graph->nodes[i], k, accepted)) accepted[graph->nodes[i].inputs[k]] = false;
}

/* Views take the dtype of what they are a view of when they are lowered. */
static vst_status apply_bf16(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    bool *accepted = vst_alloc(graph->value_count * sizeof *accepted);
    if (!accepted) return vst_fail_memory(graph->value_count * sizeof *accepted);
    find_accepted(lowering, accepted);
    for (size_t i = 0; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        for (int k = 0; lowering->needed[i] && k < node->operation->outputs; k++)
            if (node->operation->bf16_out & 1u << k && accepted[node->outputs[k]])
                lowering->stored[node->outputs[k]] = (stored){VST_BF16, NULL, true};
    }
    vst_free(accepted);
    return VST_OK;
}

vst_status vst_precision_check(vst_precision precision, bool *slow) {
    const vsti_bf16_support support = vsti_bf16_supported();
    *slow = precision == VST_PRECISION_BF16 && support != VSTI_BF16_NATIVE;
    if (precision == VST_PRECISION_F32 || support != VSTI_BF16_NONE) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "bf16 needs a processor with AVX-512, and AVX512_BF16 or AMX to be fast; this one, or what "
                    "ONEDNN_MAX_CPU_ISA leaves of it, has neither: use f32");
}

static vst_status check_bf16(const vst_program_options *options) {
    bool slow;
    if (options->quant && options->quant->product_count)
        return vst_fail(VST_ERROR_UNSUPPORTED,
                        "the model computes on 8-bit integers, which cannot be combined with bf16: use f32");
    return vst_precision_check(options->precision, &slow);
}

bool vsti_computes_bf16(const vsti_lowering *lowering) { return lowering->program->bf16; }

vst_dtype vsti_dtype_of(const vsti_lowering *lowering, int value) {
    return lowering->program->bf16 && lowering->stored[value].dtype == VST_BF16 ? VST_BF16 : VST_F32;
}

/* ---- the whole ---- */

vst_status vsti_choose_formats(vsti_lowering *lowering, const vst_program_options *options) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < lowering->graph->value_count; i++) lowering->stored[i] = (stored){.dtype = VST_F32};
    if (options->precision == VST_PRECISION_BF16) {
        VST_TRY(check_bf16(options));
        VST_TRY(apply_bf16(lowering));
    }
    for (size_t i = 0; options->quant && i < options->quant->count; i++)
        VST_TRY(apply_entry(lowering, &options->quant->entries[i]));
    VST_TRY(apply_products(lowering, options));
out:
    return status;
}

/* ---- conversions ------------------------------------------------------------------------------------------------- */

static void run_to_bf16(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->to_bf16(buffers[0], buffers[1], *(const int64_t *)arguments);
}

static void run_from_bf16(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->from_bf16(buffers[0], buffers[1], *(const int64_t *)arguments);
}

typedef struct quantization {
    vsti_quantization shape;
    float scales[];
} quantization;

static void run_quantize(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    const quantization *q = arguments;
    vsti_get_kernels()->quantize(&q->shape, q->scales, buffers[0], buffers[1]);
}

static void run_dequantize(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    const quantization *q = arguments;
    vsti_get_kernels()->dequantize(&q->shape, q->scales, buffers[0], buffers[1]);
}

/* A single scale works in every layout, per-channel scales only in the plain one. */
static vsti_quantization describe(vsti_format format, const vst_quant_entry *scale, const vst_shape *shape) {
    vsti_quantization q;
    memset(&q, 0, sizeof q);
    q.outer = q.channels = 1;
    q.inner = vsti_layout_elements(format.layout, shape);
    q.is_signed = format.dtype == VST_I8;
    q.zero_point = scale->zero_point;
    if (scale->scale_count == 1) return q;
    VST_ASSERT(format.layout.kind == VSTI_LAYOUT_PLAIN);
    q.outer = shape->dim[0];
    q.channels = shape->dim[1];
    q.inner /= q.outer * q.channels;
    return q;
}

vst_status vsti_conversion_create(conversion *out, bool to_f32, vsti_format other, const vst_quant_entry *scale,
                                  const vst_shape *shape) {
    const bool integer = other.dtype == VST_I8 || other.dtype == VST_U8;
    if (integer && !scale)
        return vst_fail(VST_ERROR_UNSUPPORTED, "a value without a scale cannot be read as %s",
                        vst_dtype_name(other.dtype));
    const size_t scales = integer ? (size_t)scale->scale_count * sizeof(float) : 0;
    *out = (conversion){.argument_bytes = integer ? sizeof(quantization) + scales : sizeof(int64_t)};
    out->arguments = vst_alloc(out->argument_bytes);
    if (!out->arguments) return vst_fail_memory(out->argument_bytes);
    if (integer) {
        quantization *q = out->arguments;
        q->shape = describe(other, scale, shape);
        memcpy(q->scales, scale->scales, scales);
        out->name = to_f32 ? "dequantize" : "quantize";
        out->function = to_f32 ? run_dequantize : run_quantize;
    } else {
        *(int64_t *)out->arguments = vsti_layout_elements(other.layout, shape);
        out->name = "cast";
        out->function = to_f32 ? run_from_bf16 : run_to_bf16;
    }
    return VST_OK;
}
