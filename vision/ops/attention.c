/* Multi-head attention as one operation over the fused projection. Scores stay in the cache; the backward pass
 * recomputes them from the stored log-sum-exp (Dao et al., 2022). */
#include <math.h>
#include <omp.h>

#include "vision/ops/operation.h"

typedef struct attributes {
    int heads, queries;
} attributes;

typedef struct arguments {
    vsti_attention_shape shape;
    float scale;
    vsti_uint8 to; /* of an output on integers */
} arguments;

static vsti_attention_shape measure(const vst_graph *graph, const vsti_node *node) {
    const vst_shape *qkv = vsti_shape(graph, node->inputs[0]);
    const attributes *o = node->attributes;
    return (vsti_attention_shape){qkv->dim[0], qkv->dim[1], o->heads, qkv->dim[2] / (3 * o->heads), o->queries};
}

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *qkv = vsti_shape(graph, node->inputs[0]);
    const attributes *o = node->attributes;
    char text[VST_SHAPE_TEXT];
    if (qkv->rank != 3 || o->heads < 1 || qkv->dim[2] % (3 * o->heads)) {
        vst_graph_fail(graph, VST_ERROR_SHAPE,
                       "attention: the projection %s should be (B, N, 3 D) with D a multiple of %d heads",
                       vst_shape_text(qkv, text), o->heads);
        return;
    }
    if (o->queries < 0 || o->queries > qkv->dim[1]) {
        vst_graph_fail(graph, VST_ERROR_SHAPE, "attention: the projection %s has fewer tokens than %d queries",
                       vst_shape_text(qkv, text), o->queries);
        return;
    }
    out[0] = VST_SHAPE(qkv->dim[0], o->queries, qkv->dim[2] / 3);
    out[1] = VST_SHAPE(qkv->dim[0], o->heads, o->queries); /* log-sum-exp of each row of scores */
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    const vsti_attention_shape s = measure(graph, node);
    return 4.0 * (double)(s.batch * s.heads * s.channels) * (double)s.tokens * (double)s.queries;
}

static double flops_backward(const vst_graph *graph, const vsti_node *node) { return 2.5 * flops(graph, node); }

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->attention(&a->shape, a->scale, b[0], b[1], b[2], b[3]);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->attention_backward(&a->shape, a->scale, b[0], b[1], b[2], b[3], b[4], b[5]);
}

static void run_forward_bf16(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->attention_bf16(&a->shape, a->scale, b[0], b[1], b[2], b[3]);
}

static void run_backward_bf16(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->attention_backward_bf16(&a->shape, a->scale, b[0], b[1], b[2], b[3], b[4], b[5]);
}

static arguments describe(const vsti_lowering *lowering, const vsti_node *node) {
    arguments a = {.shape = measure(vsti_lowering_graph(lowering), node)};
    a.scale = 1.0f / sqrtf((float)a.shape.channels);
    return a;
}

/* Forward reads qkv and writes out and lse; backward reads qkv, out, lse and dout and writes dqkv. */
static void lower(vsti_lowering *lowering, const vsti_node *node, vsti_kernel_function *function,
                  vsti_kernel_function *function_bf16) {
    const bool bf16 = vsti_computes_bf16(lowering);
    const arguments a = describe(lowering, node);
    vsti_buffer buffers[6];
    int count = 0;
    const vsti_format narrow = {bf16 ? VST_BF16 : VST_F32, VSTI_PLAIN.layout};
    for (int i = 0; i < node->input_count; i++)
        buffers[count++] =
            vsti_read(lowering, node->inputs[i], node->operation->bf16_in & 1u << i ? narrow : VSTI_PLAIN);
    for (int i = 0; i < node->operation->outputs; i++)
        buffers[count++] = vsti_write(lowering, node->outputs[i], i ? VSTI_PLAIN : narrow);
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t scratch =
        (bf16 ? kernels->attention_scratch_bf16 : kernels->attention_scratch)(&a.shape, omp_get_max_threads());
    buffers[count++] = vsti_scratch(lowering, scratch * sizeof(float));
    vsti_kernel_step(lowering, vsti_kernel_name(), bf16 ? function_bf16 : function, &a, sizeof a, buffers, count);
}

static void run_uint8(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->attention_uint8(&a->shape, a->scale, b[0], &a->to, b[1], b[2]);
}

static void lower_uint8(vsti_lowering *lowering, const vsti_node *node, arguments *a) {
    const size_t scratch = vsti_get_kernels()->attention_scratch(&a->shape, omp_get_max_threads());
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write_quantized(lowering, node->outputs[0], VSTI_PLAIN.layout),
                                   vsti_scratch(lowering, scratch * sizeof(float))};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_uint8, a, sizeof *a, buffers, 3);
}

static void lower_forward(vsti_lowering *lowering, const vsti_node *node) {
    arguments a = describe(lowering, node);
    if (vsti_writes_uint8(lowering, node->outputs[0], &a.to)) lower_uint8(lowering, node, &a);
    else lower(lowering, node, run_forward, run_forward_bf16);
}
static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    lower(lowering, node, run_backward, run_backward_bf16);
}

static const vsti_attribute described[] = {{"heads", VSTI_INT, offsetof(attributes, heads), NULL},
                                           {"queries", VSTI_INT, offsetof(attributes, queries), NULL},
                                           {0}};

static const vsti_operation backward = {.name = "attention_backward",
                                        .bf16_in = 1u << 0 | 1u << 1 | 1u << 3,
                                        .bf16_out = 1,
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"qkv", "y", "lse", "dy"},
                                        .output_names = {"dqkv"},
                                        .shapes = vsti_same_shape,
                                        .lower = lower_backward,
                                        .flops = flops_backward};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    const vst_value inputs[] = {vsti_saved(gradients, vsti_input_of(node, 0)), vsti_output_of(node, 0),
                                vsti_output_of(node, 1), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 4, node->attributes));
}

vst_value vst_attention(vst_graph *g, vst_value qkv, int heads, int queries) {
    static const vsti_operation operation = {.name = "attention",
                                             .bf16_in = 1,
                                             .bf16_out = 1,
                                             .outputs = 2,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"qkv"},
                                             .output_names = {"y", "lse"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower_forward,
                                             .flops = flops,
                                             .products = true};
    const attributes o = {heads, queries ? queries : (int)vst_shape_at(g, qkv).dim[1]};
    return vsti_emit(g, &operation, &qkv, 1, &o);
}
