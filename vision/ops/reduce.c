/* Sum and mean over any set of dimensions. Leading dimensions go through the column-sum kernel, the others through a
 * loop over the kept elements whose sums are made in a fixed order. */
#include "vision/ops/operation.h"

typedef struct attributes {
    unsigned axes;
    bool keep, mean;
} attributes;

typedef struct arguments {
    int64_t kept_count, reduced_count;
    int kept, reduced; /* dimensions of each kind */
    int64_t kept_dim[VST_MAX_RANK], kept_stride[VST_MAX_RANK], reduced_dim[VST_MAX_RANK], reduced_stride[VST_MAX_RANK];
    float factor;
} arguments;

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    char text[VST_SHAPE_TEXT];
    if (o->axes >> in->rank) {
        vst_graph_fail(graph, "reduce: the axes 0x%x are not all dimensions of %s", o->axes, vst_shape_text(in, text));
        return;
    }
    out[0] = VST_SCALAR;
    for (int i = 0; i < in->rank; i++) {
        if (!(o->axes & 1u << i)) out[0].dim[out[0].rank++] = in->dim[i];
        else if (o->keep) out[0].dim[out[0].rank++] = 1;
    }
}

static arguments measure(const vst_shape *in, const attributes *o) {
    arguments a = {.kept_count = 1, .reduced_count = 1};
    int64_t strides[VST_MAX_RANK], stride = 1;
    for (int i = in->rank; i-- > 0; stride *= in->dim[i]) strides[i] = stride;
    for (int i = 0; i < in->rank; i++) {
        if (o->axes & 1u << i) {
            a.reduced_dim[a.reduced] = in->dim[i];
            a.reduced_stride[a.reduced++] = strides[i];
            a.reduced_count *= in->dim[i];
        } else {
            a.kept_dim[a.kept] = in->dim[i];
            a.kept_stride[a.kept++] = strides[i];
            a.kept_count *= in->dim[i];
        }
    }
    a.factor = o->mean ? 1.0f / (float)a.reduced_count : 1.0f;
    return a;
}

static int64_t offset_of(int64_t index, int rank, const int64_t *dims, const int64_t *strides) {
    int64_t offset = 0;
    for (int i = rank; i-- > 0; index /= dims[i]) offset += index % dims[i] * strides[i];
    return offset;
}

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    const int inner = a->reduced - 1;
    const int64_t length = a->reduced ? a->reduced_dim[inner] : 1, step = a->reduced ? a->reduced_stride[inner] : 0;
#pragma omp parallel for schedule(static) if (a->kept_count * a->reduced_count > 16384)
    for (int64_t k = 0; k < a->kept_count; k++) {
        const float *start = (const float *)b[0] + offset_of(k, a->kept, a->kept_dim, a->kept_stride);
        double sum = 0;
        for (int64_t r = 0; r < a->reduced_count / length; r++) {
            const float *x = start + offset_of(r, inner, a->reduced_dim, a->reduced_stride);
            float part = 0;
            for (int64_t i = 0; i < length; i++) part += x[i * step];
            sum += (double)part;
        }
        ((float *)b[1])[k] = (float)sum * a->factor;
    }
}

static void run_leading(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    const vsti_kernels *kernels = vsti_get_kernels();
    kernels->column_sum(b[0], b[1], b[2], a->reduced_count, a->kept_count);
    if (a->factor != 1.0f) kernels->scale(b[1], a->factor, b[1], a->kept_count);
}

typedef struct channel_arguments {
    vsti_channels shape;
    float factor;
} channel_arguments;

static void run_channels(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const channel_arguments *a = raw;
    vsti_get_kernels()->channel_sum(b[0], b[1], a->factor, a->shape);
}

/* Over the pixels of (N, C, H, W): in the layout that a convolution left. */
static bool lower_channels(vsti_lowering *lowering, const vsti_node *node, float factor) {
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_layout *layout = vsti_layout_of(lowering, node->inputs[0]);
    channel_arguments a = {{in->dim[0], in->dim[1], in->dim[2] * in->dim[3], 1}, factor};
    if (in->rank != 4 || ((const attributes *)node->attributes)->axes != (1u << 2 | 1u << 3)) return false;
    if (!vsti_layout_channel_block(layout, &a.shape.block)) return false;
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], layout),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_channels, &a, sizeof a, buffers, 2);
    return true;
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const arguments a = measure(in, o);
    if (lower_channels(lowering, node, a.factor)) return;
    const bool leading = a.reduced && o->axes == (1u << a.reduced) - 1 && a.kept;
    vsti_buffer buffers[3] = {vsti_read(lowering, node->inputs[0], NULL), vsti_write(lowering, node->outputs[0], NULL)};
    if (leading) buffers[2] = vsti_scratch(lowering, vsti_partial_floats(a.kept_count) * sizeof(float));
    vsti_kernel_step(lowering, leading ? vsti_kernel_name() : "vistill", leading ? run_leading : run, &a, sizeof a,
                     buffers, leading ? 3 : 2);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const attributes *o = node->attributes;
    const vst_shape in = vst_shape_at(graph, vsti_input_of(node, 0));
    vst_shape kept = in;
    for (int i = 0; i < in.rank; i++)
        if (o->axes & 1u << i) kept.dim[i] = 1;
    vst_value dy = vst_reshape(graph, vsti_incoming(gradients, node, 0), kept);
    if (o->mean) dy = vst_scale(graph, dy, (double)vst_shape_count(&kept) / (double)vst_shape_count(&in));
    vsti_add_gradient(gradients, vsti_input_of(node, 0), vst_expand(graph, dy, in));
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return (double)vsti_count(graph, node->inputs[0]);
}

static vst_value emit(vst_graph *g, vst_value x, attributes o) {
    static const vsti_operation operation = {.name = "reduce",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower,
                                             .flops = flops};
    return vsti_emit(g, &operation, &x, 1, &o);
}

vst_value vst_reduce_sum(vst_graph *g, vst_value x, unsigned axes, bool keep) {
    return emit(g, x, (attributes){axes, keep, false});
}

vst_value vst_reduce_mean(vst_graph *g, vst_value x, unsigned axes, bool keep) {
    return emit(g, x, (attributes){axes, keep, true});
}
