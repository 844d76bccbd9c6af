/* Internal: nodes, values and operations. Included by graph/, ops/ and plan/ only. */
#ifndef VISTILL_VISION_GRAPH_NODE_H
#define VISTILL_VISION_GRAPH_NODE_H

#include "vision/graph/graph.h"

typedef struct vsti_node vsti_node;
typedef struct vsti_gradients vsti_gradients; /* differentiation under way, see autodiff.c */
typedef struct vsti_lowering vsti_lowering;   /* a program under construction, see vision/plan/lowering.h */

enum { VSTI_MAX_INPUTS = 6, VSTI_MAX_OUTPUTS = 4 }; /* that an operation names */

/* The role of an operation in fusion, where one step computes several nodes (plan/fuse.c). */
typedef enum vsti_fusion_role {
    VSTI_FUSE_NONE,
    VSTI_FUSE_HOST,       /* a matrix product or convolution that can add a residual and apply an activation */
    VSTI_FUSE_NORM_HOST,  /* the same, and a following batch norm can be folded into its weights */
    VSTI_FUSE_NORM,       /* batch norm, in inference */
    VSTI_FUSE_ADD,        /* sum of two inputs; a residual if the shapes are equal */
    VSTI_FUSE_ACTIVATION, /* of its only input; its attributes are a vsti_activation */
    VSTI_FUSE_IDENTITY    /* returns its only input in inference */
} vsti_fusion_role;

/* Lists in attributes. */
enum { VSTI_MAX_FLOATS = 16 };
typedef struct vsti_ints {
    int count, values[VST_MAX_RANK];
} vsti_ints;
typedef struct vsti_floats {
    int count;
    float values[VSTI_MAX_FLOATS];
} vsti_floats;

/* The C type of an attribute, and its public type. */
typedef enum vsti_attribute_type {
    VSTI_INT = 1, /* int: VST_ATTRIBUTE_INT */
    VSTI_INT64,   /* int64_t: VST_ATTRIBUTE_INT */
    VSTI_FLOAT,   /* float: VST_ATTRIBUTE_FLOAT */
    VSTI_DOUBLE,  /* double: VST_ATTRIBUTE_FLOAT */
    VSTI_BOOL,    /* bool: VST_ATTRIBUTE_BOOL */
    VSTI_ENUM,    /* an enum whose values have `names`: VST_ATTRIBUTE_ENUM */
    VSTI_SHAPE,   /* vst_shape: VST_ATTRIBUTE_SHAPE */
    VSTI_INTS,    /* vsti_ints: VST_ATTRIBUTE_INTS */
    VSTI_AXES,    /* unsigned, a bit for each axis: VST_ATTRIBUTE_INTS */
    VSTI_FLOATS   /* vsti_floats: VST_ATTRIBUTE_FLOATS */
} vsti_attribute_type;

/* One field of a node's attributes, with PyTorch's or ONNX' name. */
typedef struct vsti_attribute {
    const char *name;
    vsti_attribute_type type;
    size_t offset;
    const char *const *names; /* VSTI_ENUM: names by value, terminated by NULL */
} vsti_attribute;

/* An operation and its rules, defined in one file of ops/. Backward and accumulating forms are separate operations. */
typedef struct vsti_operation {
    const char *name;
    int outputs;            /* number of outputs, at most VSTI_MAX_OUTPUTS */
    size_t attribute_bytes; /* of the structure copied into each node */
    const vsti_attribute
        *attributes; /* its fields, terminated by {0}; those implied by the operation's name are omitted */
    const char *input_names[VSTI_MAX_INPUTS], *output_names[VSTI_MAX_OUTPUTS]; /* one output: "y" if it has no name */
    bool optional; /* the last input may be absent; the bool attribute of the same name says whether it is present */
    bool variadic; /* any number of inputs, all named as the first */
    /* Computes output_shapes; calls vst_graph_fail if the inputs do not match. */
    void (*shapes)(vst_graph *graph, const vsti_node *node, vst_shape *output_shapes);
    /* Emits nodes for the gradients of the inputs with vsti_add_gradient; NULL: not differentiable. */
    void (*gradient)(vsti_gradients *gradients, const vsti_node *node);
    /* Selects implementation and layouts and appends steps to the program. */
    void (*lower)(vsti_lowering *lowering, const vsti_node *node);
    double (*flops)(const vst_graph *graph, const vsti_node *node); /* NULL: 0 */
    /* Cheap and memory-bound: the backward pass recomputes the result instead of storing it. */
    bool recompute;
    int column_sums; /* the output that is the sum of output 0 over all dimensions but the last; 0: none */
    /* The form of this operation with one more input at the end, "sum", which is added to its first output in place, so
     * that gradients are accumulated without a separate pass. NULL if there is none. That form has `accumulates`
     * set. */
    const struct vsti_operation *accumulating;
    bool accumulates;
    vsti_fusion_role fusion;
    bool quantizable; /* x and weight can be 8-bit integers (plan/quant.h) */
    /* Bits of the inputs that it can read and of the outputs that it can write as bf16 (plan/formats.c). */
    unsigned bf16_in, bf16_out;
    bool bf16_alike; /* elementwise or a view: it reads bf16 where its first output is bf16, and only there */
    bool products;   /* its flops are multiply-accumulates and counted by vst_graph_macs */
} vsti_operation;

struct vsti_node {
    const vsti_operation *operation;
    char *name; /* scope path */
    void *attributes;
    int *inputs; /* value ids */
    int input_count;
    int outputs[VSTI_MAX_OUTPUTS]; /* value ids */
    bool backward;                 /* emitted by vst_differentiate */
    uint64_t stream;               /* random stream id; a recomputed copy has the same one */
};

typedef struct vsti_value {
    vst_value_kind kind;
    vst_shape shape;
    int node;      /* VST_VALUE_NODE: index of the node that computes it */
    int parameter; /* VST_VALUE_PARAMETER: index in params */
    char *name;    /* inputs and taps; NULL otherwise */
    int gradient;  /* value id of d loss / d this after vst_differentiate, or 0 */
} vsti_value;

struct vst_graph {
    vst_params *params;
    vsti_value *values; /* [0] is the null value */
    size_t value_count, value_capacity;
    vsti_node *nodes;
    size_t node_count, node_capacity;
    struct vsti_tap {
        char *name;
        int value;
    } *taps;
    size_t tap_count, tap_capacity;
    char scope[256];
    size_t scope_marks[32];
    int scope_depth;
    bool differentiated, backward, finished;
    bool evaluation;                                /* vst_graph_set_evaluation */
    const struct vst_quant_product *fake_quantized; /* products that are built with simulated integers */
    size_t fake_quantized_count;
    vst_status status; /* the sticky error */
    char *message;
};

/* For operations without attributes (describe.c). */
extern const vsti_attribute vsti_no_attributes[];

/* The multiply-accumulates of a node that vst_graph_macs counts (measure.c). */
double vsti_node_macs(const vst_graph *graph, size_t index);

/* Emits a node and returns its first output. Returns the null value if the graph has failed or an input is null.
 * `attributes` is copied. */
vst_value vsti_emit(vst_graph *graph, const vsti_operation *operation, const vst_value *inputs, int input_count,
                    const void *attributes);
/* Output `index` of the node that produced `value`. */
vst_value vsti_output(const vst_graph *graph, vst_value value, int index);

static inline const vst_shape *vsti_shape(const vst_graph *graph, int value) { return &graph->values[value].shape; }
static inline vst_value vsti_input_of(const vsti_node *node, int index) { return (vst_value){node->inputs[index]}; }
static inline vst_value vsti_output_of(const vsti_node *node, int index) { return (vst_value){node->outputs[index]}; }
/* Number of rows: the product of all dimensions but the last. */
static inline int64_t vsti_rows(const vst_shape *shape) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < shape->rank; i++) rows *= shape->dim[i];
    return rows;
}

/* ---- differentiation (autodiff.c) ---- */

/* The operations that differentiation itself emits, passed in because graph/ does not depend on ops/. */
typedef struct vsti_gradient_rules {
    vst_value (*constant)(vst_graph *graph, float value);         /* d loss / d loss: 1 */
    vst_value (*add)(vst_graph *graph, vst_value a, vst_value b); /* sum of two gradients of a value */
} vsti_gradient_rules;
/* vst_differentiate (ops/differentiate.c) with these rules. */
void vsti_differentiate(vst_graph *graph, vst_value loss, const vsti_gradient_rules *rules);

/* For the operations' gradient rules: */
vst_graph *vsti_gradient_graph(vsti_gradients *gradients);
/* The gradient of output `index`; the null value if there is none. */
vst_value vsti_incoming(const vsti_gradients *gradients, const vsti_node *node, int index);
/* True if d loss / d value is needed. */
bool vsti_wanted(const vsti_gradients *gradients, vst_value value);
/* Adds a contribution to d loss / d value. */
void vsti_add_gradient(vsti_gradients *gradients, vst_value value, vst_value contribution);
/* The forward value for use in the backward pass: the value itself, or a recomputed copy if its operation has
 * `recompute`. */
vst_value vsti_saved(vsti_gradients *gradients, vst_value value);
/* For the gradient rule of an operation with `recompute`: `copy`, which the same node computes, becomes what vsti_saved
 * returns, if no copy was emitted before. */
void vsti_set_saved(vsti_gradients *gradients, vst_value value, vst_value copy);
/* Calls rule(gradients, node, dy) once the gradient rule of the operation that computes `value` was called, if that has
 * `recompute` and may provide a copy, else at once. */
typedef void vsti_later_rule(vsti_gradients *gradients, const vsti_node *node, vst_value dy);
void vsti_after_gradient_of(vsti_gradients *gradients, vst_value value, const vsti_node *node, vst_value dy,
                            vsti_later_rule *rule);

#endif
