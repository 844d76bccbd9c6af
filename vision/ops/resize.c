/* Bilinear and bicubic resizing of maps and adaptive average pooling, as
 * torch.nn.functional.interpolate(align_corners=False, antialias=False). */
#include "vision/ops/operation.h"

typedef struct attributes {
    int64_t planes, in_height, in_width, out_height, out_width;
    vst_resize_mode mode;
} attributes;

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->resize(raw, b[0], b[1]);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->resize_backward(raw, b[0], b[1]);
}

static void shapes_forward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    out[0] = VST_SHAPE(in->dim[0], in->dim[1], o->out_height, o->out_width);
}

static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    out[0] = VST_SHAPE(in->dim[0], in->dim[1], o->in_height, o->in_width);
}

static const vsti_resize_kind kernels[] = {
    [VST_BILINEAR] = VSTI_RESIZE_BILINEAR, [VST_BICUBIC] = VSTI_RESIZE_BICUBIC, [VST_AREA] = VSTI_RESIZE_AREA};

static void step(vsti_lowering *lowering, const vsti_node *node, vsti_kernel_function *function) {
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    const attributes *o = node->attributes;
    const vsti_resize s = {o->planes, o->in_height, o->in_width, o->out_height, o->out_width, kernels[o->mode]};
    vsti_kernel_step(lowering, vsti_kernel_name(), function, &s, sizeof s, buffers, 2);
}
static void lower_forward(vsti_lowering *lowering, const vsti_node *node) { step(lowering, node, run_forward); }
static void lower_backward(vsti_lowering *lowering, const vsti_node *node) { step(lowering, node, run_backward); }

static const char *const modes[] = {[VST_BILINEAR] = "bilinear", [VST_BICUBIC] = "bicubic", [VST_AREA] = "area", NULL};
static const vsti_attribute described[] = {{"height", VSTI_INT64, offsetof(attributes, out_height), NULL},
                                           {"width", VSTI_INT64, offsetof(attributes, out_width), NULL},
                                           {"mode", VSTI_ENUM, offsetof(attributes, mode), modes},
                                           {0}};

static const vsti_operation backward = {.name = "resize_backward",
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"dy"},
                                        .output_names = {"dx"},
                                        .shapes = shapes_backward,
                                        .lower = lower_backward};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    const vst_value dy = vsti_incoming(gradients, node, 0);
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vsti_emit(vsti_gradient_graph(gradients), &backward, &dy, 1, node->attributes));
}

vst_value vst_resize(vst_graph *g, vst_value x, int height, int width, vst_resize_mode mode) {
    static const vsti_operation operation = {.name = "resize",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes_forward,
                                             .gradient = gradient,
                                             .lower = lower_forward};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape s = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    if (s.rank != 4 || height < 1 || width < 1) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "resize: %s cannot be resized to %d x %d: it should be (N, C, H, W)",
                       vst_shape_text(&s, text), height, width);
        return (vst_value){0};
    }
    const attributes o = {s.dim[0] * s.dim[1], s.dim[2], s.dim[3], height, width, mode};
    return vsti_emit(g, &operation, &x, 1, &o);
}
