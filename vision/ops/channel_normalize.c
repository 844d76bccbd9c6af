/* Normalises the input image by constant means and deviations: a model's preprocessing as part of its graph. */
#include "vision/ops/operation.h"

enum { MAX_CHANNELS = VSTI_MAX_FLOATS };

typedef struct attributes {
    vsti_floats mean, inverse; /* inverse: 1 / deviation */
} attributes;

typedef struct arguments {
    attributes values;
    int64_t outer, channels, inner;
} arguments;

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->normalize(b[0], a->values.mean.values, a->values.inverse.values, b[1], a->outer, a->channels,
                                  a->inner);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const arguments a = {*(const attributes *)node->attributes, shape->dim[0], shape->dim[1],
                         shape->dim[2] * shape->dim[3]};
    vsti_buffer in = vsti_read(lowering, node->inputs[0], VSTI_PLAIN);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], VSTI_PLAIN);
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &a, sizeof a, (vsti_buffer[]){in, out}, 2);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    const attributes *o = node->attributes;
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0);
    if (!vsti_wanted(gradients, x)) return;
    double none[MAX_CHANNELS] = {0}, deviation[MAX_CHANNELS];
    for (int i = 0; i < MAX_CHANNELS; i++) deviation[i] = o->inverse.values[i] ? 1.0 / (double)o->inverse.values[i] : 1;
    vsti_add_gradient(gradients, x, vst_channel_normalize(graph, vsti_incoming(gradients, node, 0), none, deviation));
}

vst_value vst_channel_normalize(vst_graph *g, vst_value x, const double *mean, const double *deviation) {
    static const vsti_attribute described[] = {{"mean", VSTI_FLOATS, offsetof(attributes, mean), NULL},
                                               {"inverse_std", VSTI_FLOATS, offsetof(attributes, inverse), NULL},
                                               {0}};
    static const vsti_operation operation = {.name = "channel_normalize",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    if (shape.rank != 4 || shape.dim[1] > MAX_CHANNELS) {
        vst_graph_fail(g, VST_ERROR_SHAPE,
                       "channel_normalize: its input %s should be (N, C, H, W) with at most %d channels",
                       vst_shape_text(&shape, text), MAX_CHANNELS);
        return (vst_value){0};
    }
    attributes o = {{.count = (int)shape.dim[1]}, {.count = (int)shape.dim[1]}};
    for (int64_t i = 0; i < shape.dim[1]; i++) {
        if (!(deviation[i] > 0))
            vst_graph_fail(g, VST_ERROR_ARGUMENT, "channel_normalize: the deviation %g of channel %d is not above 0",
                           deviation[i], (int)i);
        o.mean.values[i] = (float)mean[i];
        o.inverse.values[i] = (float)(1 / deviation[i]);
    }
    return vsti_emit(g, &operation, &x, 1, &o);
}
