/* Dropout and drop path (Huang et al., 2016). The mask is a pure function of seed, node (drop path: scope), step and
 * element, so the backward pass recomputes it. Inference programs return the input, and so do graphs in evaluation
 * mode. */
#include "vision/base/random.h"
#include "vision/ops/operation.h"

typedef struct attributes {
    float rate;
    bool samples;    /* drop path: drops whole samples */
    uint64_t stream; /* drop path: stream of the scope; backward of dropout: stream of the forward node; 0: stream of
                        this node */
} attributes;

typedef struct arguments {
    float rate;
    uint64_t stream;
    int64_t outer, inner;
} arguments;

static void run_mask(void *const *b, const void *raw, const vsti_run *run) {
    const arguments *a = raw;
    vsti_get_kernels()->dropout(b[0], b[1], a->rate, run->seed, a->stream, run->step, a->outer, a->inner);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    if (!vsti_is_training(lowering)) {
        vsti_alias(lowering, node->outputs[0], node->inputs[0], 0);
        return;
    }
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t count = vst_shape_count(shape), outer = o->samples ? shape->dim[0] : count;
    const arguments a = {o->rate, o->stream ? o->stream : node->stream, outer, count / outer};
    vsti_buffer in = vsti_read(lowering, node->inputs[0], VSTI_PLAIN);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], VSTI_PLAIN);
    vsti_kernel_step(lowering, vsti_kernel_name(), run_mask, &a, sizeof a, (vsti_buffer[]){in, out}, 2);
}

static const vsti_attribute described[] = {{"p", VSTI_FLOAT, offsetof(attributes, rate), NULL},
                                           {"per_sample", VSTI_BOOL, offsetof(attributes, samples), NULL},
                                           {0}};

static const vsti_operation backward = {.name = "dropout_backward",
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"dy"},
                                        .output_names = {"dx"},
                                        .shapes = vsti_same_shape,
                                        .lower = lower};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    attributes o = *(const attributes *)node->attributes;
    if (!o.stream) o.stream = node->stream;
    const vst_value dy = vsti_incoming(gradients, node, 0);
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vsti_emit(vsti_gradient_graph(gradients), &backward, &dy, 1, &o));
}

static vst_value emit(vst_graph *g, vst_value x, double rate, bool samples) {
    static const vsti_operation operation = {.name = "dropout",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower,
                                             .fusion = VSTI_FUSE_IDENTITY};
    if (!(rate >= 0 && rate < 1)) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "%s: the rate %g is not in [0, 1)", samples ? "drop_path" : "dropout",
                       rate);
        return (vst_value){0};
    }
    const attributes o = {(float)rate, samples, samples ? vst_random_id(g->scope) : 0};
    return rate == 0 || g->evaluation ? x : vsti_emit(g, &operation, &x, 1, &o);
}

vst_value vst_dropout(vst_graph *g, vst_value x, double rate) { return emit(g, x, rate, false); }
vst_value vst_drop_path(vst_graph *g, vst_value x, double rate) { return emit(g, x, rate, true); }
