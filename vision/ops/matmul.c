/* Matrix products through oneDNN: the batched product, the linear layer, and the gradients of both, which are products
 * too. An operand is seen either as a stack of matrices or, "flat", as one matrix of all its rows. */
#include "vision/ops/quantized.h"

typedef struct attributes {
    bool transpose_a, transpose_b;
    bool flat; /* the leading dimensions of both operands are rows of one matrix (b may also be a single matrix) */
    bool bias; /* third input, shape (N) */
} attributes;

typedef struct sizes {
    int64_t batch, m, n, k;
    int64_t rows_a, cols_a, rows_b, cols_b; /* in memory, before transposition */
} sizes;

static int64_t leading(const vst_shape *shape) { /* number of matrices in the stack */
    int64_t count = 1;
    for (int i = 0; i + 2 < shape->rank; i++) count *= shape->dim[i];
    return count;
}

static bool measure(const vst_graph *graph, const vsti_node *node, sizes *s) {
    const attributes *o = node->attributes;
    const vst_shape *a = vsti_shape(graph, node->inputs[0]), *b = vsti_shape(graph, node->inputs[1]);
    if (a->rank < 1 || b->rank < 1 || (!o->flat && (a->rank < 2 || b->rank < 2))) return false;
    s->cols_a = vsti_last(a);
    s->cols_b = vsti_last(b);
    s->rows_a = o->flat ? vsti_rows(a) : a->dim[a->rank - 2];
    s->rows_b = o->flat ? vsti_rows(b) : b->dim[b->rank - 2];
    s->batch = o->flat ? 1 : leading(a);
    for (int i = 0; !o->flat && i + 2 < (a->rank > b->rank ? a->rank : b->rank); i++)
        if (a->rank != b->rank || a->dim[i] != b->dim[i]) return false;
    s->m = o->transpose_a ? s->cols_a : s->rows_a;
    s->k = o->transpose_a ? s->rows_a : s->cols_a;
    s->n = o->transpose_b ? s->rows_b : s->cols_b;
    return s->k == (o->transpose_b ? s->cols_b : s->rows_b);
}

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *a = vsti_shape(graph, node->inputs[0]), *b = vsti_shape(graph, node->inputs[1]);
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    sizes s;
    if (!measure(graph, node, &s)) {
        vst_graph_fail(graph, VST_ERROR_SHAPE, "matmul: the shapes %s%s and %s%s do not match",
                       vst_shape_text(a, first), o->transpose_a ? "ᵀ" : "", vst_shape_text(b, second),
                       o->transpose_b ? "ᵀ" : "");
        return;
    }
    out[0] = o->flat && o->transpose_a ? VST_SHAPE(0, 0) : *a; /* the gradient of a weight has no leading dimensions */
    if (!o->flat || o->transpose_a) out[0].dim[out[0].rank - 2] = s.m;
    out[0].dim[out[0].rank - 1] = s.n;
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    sizes s;
    return measure(graph, node, &s) ? 2.0 * (double)s.batch * (double)s.m * (double)s.n * (double)s.k : 0;
}

static vsti_matmul describe(const sizes *s, const attributes *o) {
    vsti_matmul m = {.rank = s->batch > 1 ? 3 : 2, .bias = o->bias};
    const int first = m.rank - 2;
    const int64_t dims[3][3] = {{s->batch, s->m, s->k}, {s->batch, s->k, s->n}, {s->batch, s->m, s->n}};
    const int64_t strides[3][3] = {
        {s->rows_a * s->cols_a, o->transpose_a ? 1 : s->cols_a, o->transpose_a ? s->cols_a : 1},
        {s->rows_b * s->cols_b, o->transpose_b ? 1 : s->cols_b, o->transpose_b ? s->cols_b : 1},
        {s->m * s->n, s->n, 1}};
    for (int i = 0; i < m.rank; i++) {
        m.dims_a[i] = dims[0][i + 1 - first];
        m.dims_b[i] = dims[1][i + 1 - first];
        m.dims_c[i] = dims[2][i + 1 - first];
        m.strides_a[i] = strides[0][i + 1 - first];
        m.strides_b[i] = strides[1][i + 1 - first];
        m.strides_c[i] = strides[2][i + 1 - first];
    }
    return m;
}

/* True for a parameter of an inference program whose layout oneDNN may choose, because it is packed once. */
static bool is_packed(const vsti_lowering *lowering, const vsti_node *node, const vsti_matmul *m) {
    const vsti_value *b = &vsti_lowering_graph(lowering)->values[node->inputs[1]];
    return b->kind == VST_VALUE_PARAMETER && m->rank == 2 && m->dims_a[0] <= VSTI_MOST_ROWS_PACKED &&
           !vsti_is_training(lowering) && !vsti_is_plain(lowering);
}

static vsti_buffer packed(vsti_lowering *lowering, const vsti_node *node, const vsti_matmul *m,
                          const vsti_primitive *p) {
    vsti_descriptor *from = NULL;
    vsti_buffer b = vsti_read(lowering, node->inputs[1], VSTI_PLAIN);
    const vst_shape shape = VST_SHAPE(m->dims_b[0], m->dims_b[1]);
    vst_status status = vsti_descriptor_strided(&from, &shape, m->strides_b);
    if (status == VST_OK) {
        const vsti_format lies = {VST_F32, vsti_layout_of(from)};
        b = vsti_pack_reorder(lowering, b, &shape, lies, vsti_primitive_format(p, VSTI_WEIGHTS));
    }
    vsti_lowering_fail(lowering, status);
    vsti_descriptor_destroy(from);
    return b;
}

/* A linear layer on 8-bit integers. */
static void lower_integers(vsti_lowering *lowering, const vsti_node *node, vsti_matmul *m) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    const attributes *o = node->attributes;
    vsti_primitive *p = NULL;
    m->bias = m->pack = true;
    m->after = vsti_after_integers(lowering, &fusion, m->arithmetic);
    vst_status status = vsti_matmul_create(&p, m);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    vsti_integer_step(lowering, node, p,
                      &(vsti_integer_product){.arithmetic = m->arithmetic,
                                              .bias = o->bias ? node->inputs[2] : 0,
                                              .strides = m->strides_b,
                                              .in = VSTI_PLAIN.layout,
                                              .out = VSTI_PLAIN.layout});
}

static vst_status create(vsti_primitive **p, vsti_matmul *m) {
    vst_status status = vsti_matmul_create(p, m);
    if (!vsti_falls_back(p, &status, m->arithmetic)) return status;
    m->arithmetic = VSTI_FLOAT32;
    return vsti_matmul_create(p, m);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vsti_fusion fusion = vsti_fused(lowering, node);
    const int addend = node->operation->accumulates ? node->inputs[2] : fusion.residual;
    sizes s;
    measure(vsti_lowering_graph(lowering), node, &s);
    vsti_matmul description = describe(&s, o);
    description.after = vsti_after(addend, fusion.activation);
    description.arithmetic = vsti_arithmetic_of(lowering, node, &fusion);
    if (description.arithmetic == VSTI_INT8 || description.arithmetic == VSTI_INT8_TO_UINT8) {
        lower_integers(lowering, node, &description);
        return;
    }
    description.pack = is_packed(lowering, node, &description);
    vsti_primitive *p = NULL;
    vst_status status = create(&p, &description);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_format factor = {description.arithmetic == VSTI_FLOAT32 ? VST_F32 : VST_BF16, VSTI_PLAIN.layout},
                      result = vsti_primitive_format(p, VSTI_DST);
    const vsti_argument arguments[] = {
        {VSTI_SRC, vsti_read(lowering, node->inputs[0], factor)},
        {VSTI_WEIGHTS,
         description.pack ? packed(lowering, node, &description, p) : vsti_read(lowering, node->inputs[1], factor)},
        {VSTI_BIAS, o->bias ? vsti_read(lowering, node->inputs[2], VSTI_PLAIN) : VSTI_NO_BUFFER},
        {VSTI_DST, addend ? vsti_write_sum(lowering, fusion.output, addend, result)
                          : vsti_write(lowering, fusion.output, result)}};
    vsti_primitive_step(lowering, p, arguments, 4);
}

/* ---- sum over rows: the gradient of a bias ---- */

static void shapes_columns(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    out[0] = VST_SHAPE(vsti_last(vsti_shape(graph, node->inputs[0])));
}

static void run_columns(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const int64_t *size = raw;
    vsti_get_kernels()->column_sum(buffers[0], buffers[1], buffers[2], size[0], size[1]);
}

static void run_columns_bf16(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const int64_t *size = raw;
    vsti_get_kernels()->column_sum_bf16(buffers[0], buffers[1], buffers[2], size[0], size[1]);
}

static void lower_columns(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t size[2] = {vsti_rows(shape), vsti_last(shape)};
    const vsti_format from = {vsti_dtype_of(lowering, node->inputs[0]), VSTI_PLAIN.layout};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], from),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN),
                                   vsti_scratch(lowering, vsti_partial_floats(size[1]) * sizeof(float))};
    vsti_kernel_step(lowering, vsti_kernel_name(), from.dtype == VST_BF16 ? run_columns_bf16 : run_columns, size,
                     sizeof size, buffers, 3);
}

static const vsti_operation column_sum = {.name = "column_sum",
                                          .outputs = 1,
                                          .input_names = {"x"},
                                          .shapes = shapes_columns,
                                          .lower = lower_columns,
                                          .bf16_in = 1};

/* ---- gradients ---- */

static void gradient(vsti_gradients *gradients, const vsti_node *node);

static const vsti_attribute of_product[] = {{"transpose_a", VSTI_BOOL, offsetof(attributes, transpose_a), NULL},
                                            {"transpose_b", VSTI_BOOL, offsetof(attributes, transpose_b), NULL},
                                            {"flatten", VSTI_BOOL, offsetof(attributes, flat), NULL},
                                            {0}};
static const vsti_attribute of_linear[] = {{"bias", VSTI_BOOL, offsetof(attributes, bias), NULL}, {0}};

static const vsti_operation product_add = {.name = "matmul_add",
                                           .bf16_in = 3,
                                           .bf16_out = 1,
                                           .outputs = 1,
                                           .attribute_bytes = sizeof(attributes),
                                           .attributes = of_product,
                                           .input_names = {"a", "b", "sum"},
                                           .shapes = shapes,
                                           .lower = lower,
                                           .flops = flops,
                                           .accumulates = true,
                                           .products = true};
static const vsti_operation product = {.name = "matmul",
                                       .bf16_in = 3,
                                       .bf16_out = 1,
                                       .outputs = 1,
                                       .attribute_bytes = sizeof(attributes),
                                       .attributes = of_product,
                                       .input_names = {"a", "b"},
                                       .shapes = shapes,
                                       .gradient = gradient,
                                       .lower = lower,
                                       .flops = flops,
                                       .accumulating = &product_add,
                                       .products = true};
static const vsti_operation linear = {.name = "linear",
                                      .bf16_in = 3,
                                      .bf16_out = 1,
                                      .outputs = 1,
                                      .attribute_bytes = sizeof(attributes),
                                      .attributes = of_linear,
                                      .input_names = {"x", "weight", "bias"},
                                      .optional = true,
                                      .shapes = shapes,
                                      .gradient = gradient,
                                      .lower = lower,
                                      .flops = flops,
                                      .fusion = VSTI_FUSE_HOST,
                                      .quantizable = true,
                                      .products = true};

static vst_value multiply(vst_graph *graph, vst_value a, vst_value b, bool transpose_a, bool transpose_b, bool flat) {
    const attributes o = {.transpose_a = transpose_a, .transpose_b = transpose_b, .flat = flat};
    return vsti_emit(graph, &product, (vst_value[]){a, b}, 2, &o);
}

/* The sum of dC over its rows, from the step that computes dC if that can. */
static vst_value sum_columns(vst_graph *graph, vst_value dc) {
    const vsti_value *value = &graph->values[dc.id];
    if (dc.id && value->kind == VST_VALUE_NODE) {
        const vsti_node *from = &graph->nodes[value->node];
        if (from->operation->column_sums && from->outputs[0] == dc.id)
            return vsti_output_of(from, from->operation->column_sums);
    }
    return vsti_emit(graph, &column_sum, &dc, 1, NULL);
}

static void gradient_b(vsti_gradients *gradients, const vsti_node *node, vst_value dc) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const attributes *o = node->attributes;
    const vst_value saved = vsti_saved(gradients, vsti_input_of(node, 0));
    vsti_add_gradient(gradients, vsti_input_of(node, 1),
                      o->transpose_b ? multiply(graph, dc, saved, true, o->transpose_a, o->flat)
                                     : multiply(graph, saved, dc, !o->transpose_a, false, o->flat));
}

/* C = op(A) op(B): dA and dB are products of dC with the other operand. dB comes after the gradient of what computes A,
 * where A is an activation that is computed again with its gradient. */
static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const attributes *o = node->attributes;
    const vst_value a = vsti_input_of(node, 0), b = vsti_input_of(node, 1), dc = vsti_incoming(gradients, node, 0);
    if (o->bias && vsti_wanted(gradients, vsti_input_of(node, 2)))
        vsti_add_gradient(gradients, vsti_input_of(node, 2), sum_columns(graph, dc));
    if (vsti_wanted(gradients, b)) vsti_after_gradient_of(gradients, a, node, dc, gradient_b);
    if (vsti_wanted(gradients, a)) {
        const vst_value saved = vsti_saved(gradients, b);
        vsti_add_gradient(gradients, a,
                          o->transpose_a ? multiply(graph, saved, dc, o->transpose_b, true, o->flat)
                                         : multiply(graph, dc, saved, false, !o->transpose_b, o->flat));
    }
}

vst_value vst_matmul(vst_graph *g, vst_value a, vst_value b, bool transpose_a, bool transpose_b) {
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape left = vst_shape_at(g, a), right = vst_shape_at(g, b);
    const bool single = right.rank == 2;
    if (single && transpose_a && left.rank > 2) {
        char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
        vst_graph_fail(
            g, VST_ERROR_UNSUPPORTED,
            "matmul: a stack of transposed matrices %s times one matrix %s is not supported: permute it first",
            vst_shape_text(&left, first), vst_shape_text(&right, second));
        return (vst_value){0};
    }
    return multiply(g, a, b, transpose_a, transpose_b, single);
}

vst_value vst_linear(vst_graph *g, vst_value x, vst_linear_options options) {
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    if (shape.rank < 1 || options.features < 1) {
        vst_graph_fail(g, options.features < 1 ? VST_ERROR_ARGUMENT : VST_ERROR_SHAPE,
                       "linear: %d features from a tensor with %d dimensions", options.features, shape.rank);
        return (vst_value){0};
    }
    if (options.init.kind == VST_INIT_ZEROS && options.init.scale == 0) options.init.kind = VST_INIT_LECUN_UNIFORM;
    vst_value inputs[3] = {x, vst_param(g, "weight", VST_SHAPE(options.features, vsti_last(&shape)), options.init)};
    if (options.bias) inputs[2] = vst_param(g, "bias", VST_SHAPE(options.features), options.bias_init);
    vsti_fake_quantize_operands(g, inputs);
    const attributes o = {.transpose_b = true, .flat = true, .bias = options.bias};
    return vsti_emit(g, &linear, inputs, options.bias ? 3 : 2, &o);
}
