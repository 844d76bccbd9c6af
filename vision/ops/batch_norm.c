/* Batch norm through oneDNN (Ioffe & Szegedy, 2015), in the layout of its input. Training programs normalise with the
 * batch statistics and update the running ones; inference programs and graphs in evaluation mode use the running ones.
 */
#include <string.h>

#include "vision/ops/operation.h"

typedef struct attributes {
    double epsilon, momentum;
    bool running; /* the graph is in evaluation mode: running statistics in training, too */
} attributes;

enum { X, WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VARIANCE, COUNTER, INPUTS };

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *x = vsti_shape(graph, node->inputs[X]);
    out[0] = *x;
    out[1] = out[2] = VST_SHAPE(x->dim[1]); /* mean and biased variance of the batch */
}

typedef struct update {
    int64_t channels;
    float momentum, unbiased; /* n / (n - 1) */
} update;

static void run_update(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const update *u = raw;
    vsti_get_kernels()->running_statistics(buffers[0], buffers[1], u->momentum, u->unbiased, buffers[2], buffers[3],
                                           buffers[4], u->channels);
}

/* oneDNN uses reference code for layouts without a fast batch norm, such as channels in blocks of 4 on AVX-512, and in
 * bf16 for more of them. It is slower than a cast to float32, or a reorder to the plain layout, and batch norm there:
 * then the primitive is destroyed, *format becomes that, and the primitive is to be created for it. */
static bool replaces_reference(vsti_primitive *p, vst_status status, vsti_format *format) {
    const bool plain = format->layout.kind == VSTI_LAYOUT_PLAIN;
    if (status != VST_OK || (format->dtype == VST_F32 && plain) || !vsti_primitive_is_reference(p)) return false;
    vsti_primitive_destroy(p);
    if (format->dtype == VST_BF16) format->dtype = VST_F32;
    else *format = VSTI_PLAIN;
    return true;
}

static vst_status create_forward(vsti_primitive **p, const vst_shape *shape, vsti_format *format, double epsilon,
                                 bool training) {
    vst_status status;
    do status = vsti_batch_norm_forward(p, shape, *format, epsilon, training);
    while (replaces_reference(*p, status, format));
    return status;
}

static vst_status create_backward(vsti_primitive **p, const vst_shape *shape, vsti_format *format,
                                  const attributes *o) {
    vst_status status;
    do status = vsti_batch_norm_backward(p, shape, *format, o->epsilon, !o->running);
    while (replaces_reference(*p, status, format));
    return status;
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[X]);
    vsti_format format = vsti_same_format(lowering, node->inputs[X], node->outputs[0]);
    const bool training = vsti_is_training(lowering) && !o->running;
    vsti_primitive *p = NULL;
    vst_status status = create_forward(&p, shape, &format, o->epsilon, training);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_buffer x = vsti_read(lowering, node->inputs[X], format);
    const vsti_buffer running_mean = vsti_read(lowering, node->inputs[RUNNING_MEAN], VSTI_PLAIN);
    const vsti_buffer running_variance = vsti_read(lowering, node->inputs[RUNNING_VARIANCE], VSTI_PLAIN);
    const vsti_buffer mean = training ? vsti_write(lowering, node->outputs[1], VSTI_PLAIN) : running_mean;
    const vsti_buffer variance = training ? vsti_write(lowering, node->outputs[2], VSTI_PLAIN) : running_variance;
    const vsti_argument arguments[] = {
        {VSTI_SRC, x},
        {VSTI_SCALE, vsti_read(lowering, node->inputs[WEIGHT], VSTI_PLAIN)},
        {VSTI_SHIFT, vsti_read(lowering, node->inputs[BIAS], VSTI_PLAIN)},
        {VSTI_MEAN, mean},
        {VSTI_VARIANCE, variance},
        {VSTI_DST, vsti_write_over(lowering, node->outputs[0], node->inputs[X], format)}};
    vsti_primitive_step(lowering, p, arguments, 6);
    if (!training) return;
    const double n = (double)(shape->dim[0] * shape->dim[2] * shape->dim[3]);
    const update u = {shape->dim[1], (float)o->momentum, (float)(n > 1 ? n / (n - 1) : 1)};
    const vsti_buffer buffers[] = {mean, variance, running_mean, running_variance,
                                   vsti_read(lowering, node->inputs[COUNTER], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_update, &u, sizeof u, buffers, 5);
}

/* ---- folding into the preceding convolution (inference) ---- */

typedef struct folding {
    int64_t out, inner; /* inner: weights per output channel */
    double epsilon;
} folding;

static void run_fold(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const folding *f = raw;
    const vsti_batch_norm norm = {b[0], b[1], b[2], b[3], f->epsilon};
    vsti_get_kernels()->fold_batch_norm(&norm, b[4], b[5], b[6], b[7], f->out, f->inner);
}

static vsti_folded fold(vsti_lowering *lowering, const vsti_node *norm, int weight, int bias) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), weight);
    const folding f = {shape->dim[0], vst_shape_count(shape) / shape->dim[0],
                       ((const attributes *)norm->attributes)->epsilon};
    const vsti_buffer inputs[] = {vsti_read(lowering, norm->inputs[WEIGHT], VSTI_PLAIN),
                                  vsti_read(lowering, norm->inputs[BIAS], VSTI_PLAIN),
                                  vsti_read(lowering, norm->inputs[RUNNING_MEAN], VSTI_PLAIN),
                                  vsti_read(lowering, norm->inputs[RUNNING_VARIANCE], VSTI_PLAIN),
                                  vsti_read(lowering, weight, VSTI_PLAIN),
                                  bias ? vsti_read(lowering, bias, VSTI_PLAIN) : VSTI_NO_BUFFER};
    const size_t bytes[] = {(size_t)(f.out * f.inner) * sizeof(float), (size_t)f.out * sizeof(float)};
    vsti_buffer outputs[2];
    vsti_pack_step(lowering, run_fold, &f, sizeof f, inputs, 6, bytes, 2, outputs);
    return (vsti_folded){outputs[0], outputs[1]};
}

double vsti_batch_norm_epsilon(const vsti_node *norm) { return ((const attributes *)norm->attributes)->epsilon; }

vsti_folded vsti_folded_weights(vsti_lowering *lowering, int weight, int bias, const vsti_node *norm,
                                vsti_format format) {
    if (!norm)
        return (vsti_folded){vsti_read(lowering, weight, format),
                             bias ? vsti_read(lowering, bias, VSTI_PLAIN) : VSTI_NO_BUFFER};
    vsti_folded folded = fold(lowering, norm, weight, bias);
    folded.weight = vsti_pack_reorder(lowering, folded.weight, vsti_shape(vsti_lowering_graph(lowering), weight),
                                      VSTI_PLAIN, format);
    return folded;
}

/* Inputs: x, weight, mean, variance, dy. Outputs: dx, dweight, dbias. */
static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    out[0] = *vsti_shape(graph, node->inputs[0]);
    out[1] = out[2] = *vsti_shape(graph, node->inputs[1]);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    vsti_primitive *p = NULL;
    vst_status status = create_backward(&p, shape, &format, o);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_argument arguments[] = {
        {VSTI_SRC, vsti_read(lowering, node->inputs[0], format)},
        {VSTI_SCALE, vsti_read(lowering, node->inputs[1], VSTI_PLAIN)},
        {VSTI_MEAN, vsti_read(lowering, node->inputs[2], VSTI_PLAIN)},
        {VSTI_VARIANCE, vsti_read(lowering, node->inputs[3], VSTI_PLAIN)},
        {VSTI_DIFF_DST, vsti_read(lowering, node->inputs[4], format)},
        {VSTI_DIFF_SRC, vsti_write_over(lowering, node->outputs[0], node->inputs[4], format)},
        {VSTI_DIFF_SCALE, vsti_write(lowering, node->outputs[1], VSTI_PLAIN)},
        {VSTI_DIFF_SHIFT, vsti_write(lowering, node->outputs[2], VSTI_PLAIN)}};
    vsti_primitive_step(lowering, p, arguments, 8);
}

static const vsti_attribute described[] = {{"epsilon", VSTI_DOUBLE, offsetof(attributes, epsilon), NULL},
                                           {"momentum", VSTI_DOUBLE, offsetof(attributes, momentum), NULL},
                                           {"running", VSTI_BOOL, offsetof(attributes, running), NULL},
                                           {0}};

static const vsti_operation backward = {.name = "batch_norm_backward",
                                        .bf16_in = 1u << 0 | 1u << 4,
                                        .bf16_out = 1,
                                        .bf16_alike = true,
                                        .outputs = 3,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"x", "weight", "mean", "var", "dy"},
                                        .output_names = {"dx", "dweight", "dbias"},
                                        .shapes = shapes_backward,
                                        .lower = lower_backward};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const bool running = ((const attributes *)node->attributes)->running;
    const vst_value mean = running ? vsti_input_of(node, RUNNING_MEAN) : vsti_output_of(node, 1);
    const vst_value variance = running ? vsti_input_of(node, RUNNING_VARIANCE) : vsti_output_of(node, 2);
    const vst_value inputs[] = {vsti_saved(gradients, vsti_input_of(node, X)), vsti_input_of(node, WEIGHT), mean,
                                variance, vsti_incoming(gradients, node, 0)};
    vst_value dx = vsti_emit(graph, &backward, inputs, 5, node->attributes);
    vsti_add_gradient(gradients, vsti_input_of(node, X), dx);
    vsti_add_gradient(gradients, vsti_input_of(node, WEIGHT), vsti_output(graph, dx, 1));
    vsti_add_gradient(gradients, vsti_input_of(node, BIAS), vsti_output(graph, dx, 2));
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return 8.0 * (double)vsti_count(graph, node->inputs[X]);
}

vst_value vst_batch_norm(vst_graph *g, vst_value x, vst_norm_options options) {
    static const vsti_operation operation = {
        .name = "batch_norm",
        .bf16_in = 1,
        .bf16_out = 1,
        .bf16_alike = true,
        .outputs = 3,
        .attribute_bytes = sizeof(attributes),
        .attributes = described,
        .input_names = {"x", "weight", "bias", "running_mean", "running_var", "num_batches_tracked"},
        .output_names = {"y", "mean", "var"},
        .shapes = shapes,
        .gradient = gradient,
        .lower = lower,
        .flops = flops,
        .fusion = VSTI_FUSE_NORM};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    if (shape.rank != 4) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "batch_norm: its input %s should be (N, C, H, W)",
                       vst_shape_text(&shape, text));
        return (vst_value){0};
    }
    const vst_shape channels = VST_SHAPE(shape.dim[1]);
    const vst_init zeros = {VST_INIT_ZEROS, 0, VST_PARAM_STATE}, ones = {VST_INIT_ONES, 0, VST_PARAM_STATE};
    const vst_value inputs[INPUTS] = {
        [X] = x,
        [WEIGHT] = vst_param(g, "weight", channels, (vst_init){VST_INIT_ONES, 0, VST_PARAM_WEIGHT}),
        [BIAS] = vst_param(g, "bias", channels, (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT}),
        [RUNNING_MEAN] = vst_param(g, "running_mean", channels, zeros),
        [RUNNING_VARIANCE] = vst_param(g, "running_var", channels, ones),
        [COUNTER] = vst_param(g, "num_batches_tracked", VST_SCALAR, (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_COUNTER})};
    const attributes o = {options.epsilon ? options.epsilon : 1e-5, options.momentum ? options.momentum : 0.1,
                          g->evaluation};
    return vsti_emit(g, &operation, inputs, INPUTS, &o);
}
