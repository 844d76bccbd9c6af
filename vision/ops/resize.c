/* Bilinear and bicubic resizing of maps, align_corners=False, no antialiasing, as torch.nn.functional.interpolate:
 * source coordinate (i + 0.5) in / out - 0.5 (bilinear: at least 0), cubic coefficient -0.75, edges clamped. */
#include <math.h>

#include "vision/ops/operation.h"

typedef struct attributes {
    int64_t planes, in_height, in_width, out_height, out_width;
    vst_resize_mode mode;
} attributes;

typedef struct taps { /* up to four source positions and their weights */
    int count;
    int64_t at[4];
    float weight[4];
} taps;

static double cubic(double x) {
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

static int64_t clamp(int64_t x, int64_t count) { return x < 0 ? 0 : x >= count ? count - 1 : x; }

static taps taps_of(int64_t i, int64_t in, int64_t out, vst_resize_mode mode) {
    double x = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    taps t = {.count = mode == VST_BICUBIC ? 4 : 2};
    if (mode == VST_BILINEAR && x < 0) x = 0;
    const int64_t base = (int64_t)floor(x);
    for (int k = 0; k < t.count; k++) {
        const int64_t position = mode == VST_BICUBIC ? base - 1 + k : base + k;
        t.at[k] = clamp(position, in);
        t.weight[k] = (float)(mode == VST_BICUBIC ? cubic(x - (double)position) : 1 - fabs(x - (double)position));
    }
    return t;
}

static void forward_plane(const float *in, float *out, const attributes *o) {
    for (int64_t y = 0; y < o->out_height; y++) {
        const taps rows = taps_of(y, o->in_height, o->out_height, o->mode);
        for (int64_t x = 0; x < o->out_width; x++) {
            const taps cols = taps_of(x, o->in_width, o->out_width, o->mode);
            float sum = 0;
            for (int r = 0; r < rows.count; r++)
                for (int c = 0; c < cols.count; c++)
                    sum += rows.weight[r] * cols.weight[c] * in[rows.at[r] * o->in_width + cols.at[c]];
            out[y * o->out_width + x] = sum;
        }
    }
}

/* The transposed map: every output's gradient goes back to the positions it was read from. */
static void backward_plane(const float *dout, float *din, const attributes *o) {
    memset(din, 0, (size_t)(o->in_height * o->in_width) * sizeof *din);
    for (int64_t y = 0; y < o->out_height; y++) {
        const taps rows = taps_of(y, o->in_height, o->out_height, o->mode);
        for (int64_t x = 0; x < o->out_width; x++) {
            const taps cols = taps_of(x, o->in_width, o->out_width, o->mode);
            for (int r = 0; r < rows.count; r++)
                for (int c = 0; c < cols.count; c++)
                    din[rows.at[r] * o->in_width + cols.at[c]] +=
                        rows.weight[r] * cols.weight[c] * dout[y * o->out_width + x];
        }
    }
}

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const attributes *o = raw;
    const int64_t in = o->in_height * o->in_width, out = o->out_height * o->out_width;
#pragma omp parallel for schedule(static) if (o->planes * out > 16384)
    for (int64_t p = 0; p < o->planes; p++) forward_plane((const float *)b[0] + p * in, (float *)b[1] + p * out, o);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const attributes *o = raw;
    const int64_t in = o->in_height * o->in_width, out = o->out_height * o->out_width;
#pragma omp parallel for schedule(static) if (o->planes * out > 16384)
    for (int64_t p = 0; p < o->planes; p++) backward_plane((const float *)b[0] + p * out, (float *)b[1] + p * in, o);
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

static void step(vsti_lowering *lowering, const vsti_node *node, vsti_kernel_function *function) {
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, "vistill", function, node->attributes, sizeof(attributes), buffers, 2);
}
static void lower_forward(vsti_lowering *lowering, const vsti_node *node) { step(lowering, node, run_forward); }
static void lower_backward(vsti_lowering *lowering, const vsti_node *node) { step(lowering, node, run_backward); }

static const vsti_operation backward = {.name = "resize_backward",
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
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
                                             .shapes = shapes_forward,
                                             .gradient = gradient,
                                             .lower = lower_forward};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape s = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    if (s.rank != 4 || height < 1 || width < 1) {
        vst_graph_fail(g, "resize: %s cannot become %d x %d: it should be (N, C, H, W)", vst_shape_text(&s, text),
                       height, width);
        return (vst_value){0};
    }
    const attributes o = {s.dim[0] * s.dim[1], s.dim[2], s.dim[3], height, width, mode};
    return vsti_emit(g, &operation, &x, 1, &o);
}
