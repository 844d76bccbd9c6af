/* The graph of a model: built once with static shapes, differentiated by emitting gradient nodes into the same graph,
 * then lowered to a program.
 *
 *     vst_graph *g;
 *     vst_value x = vst_input(g, "image", VST_SHAPE(32, 1, 28, 28));
 *     VST_SCOPE(g, "blocks.%d", i) { x = vst_linear(g, x, (vst_linear_options){.features = 64, .bias = true}); }
 *     vst_tap(g, "logits", x);
 *     status = vst_graph_finish(g);
 *
 * Errors are sticky: the first builder that fails records its message with the scope and the shapes, every later
 * builder does nothing and returns the null value, and vst_graph_finish returns the error. A graph may be used by one
 * thread while it is built and by any number of threads once it is finished. */
#ifndef VISTILL_VISION_GRAPH_GRAPH_H
#define VISTILL_VISION_GRAPH_GRAPH_H

#include "vision/graph/params.h"
#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

typedef struct vst_graph vst_graph;

/* An output of a node. {0} is the null value. A value may be copied and is valid only within its graph. */
typedef struct vst_value {
    int id;
} vst_value;

/* `params` is shared by all graphs of a model and must outlive them. */
VST_NODISCARD vst_status vst_graph_create(vst_graph **out, vst_params *params);
void vst_graph_destroy(vst_graph *graph);

/* A named float32 tensor that the caller fills before each run. */
vst_value vst_input(vst_graph *graph, const char *name, vst_shape shape);

/* A parameter named scope + "." + name. It is added to the graph's vst_params; if it exists already, its shape must be
 * equal. */
vst_value vst_param(vst_graph *graph, const char *name, vst_shape shape, vst_init init);

/* Opens and closes a naming scope. Use VST_SCOPE, which closes it automatically. */
void vst_scope_push(vst_graph *graph, const char *format, ...) VST_PRINTF(2, 3);
void vst_scope_pop(vst_graph *graph);
#define VST_SCOPE_JOIN_(a, b) a##b
#define VST_SCOPE_NAME_(line) VST_SCOPE_JOIN_(vst_scope_once_, line)
#define VST_SCOPE(graph, ...)                                                                                \
    for (int VST_SCOPE_NAME_(__LINE__) = (vst_scope_push(graph, __VA_ARGS__), 1); VST_SCOPE_NAME_(__LINE__); \
         VST_SCOPE_NAME_(__LINE__) = (vst_scope_pop(graph), 0))

/* Registers a value under a name that distillation terms and users can read ("logits", "layer3", "blocks.11"). Scopes
 * are not added to the name. */
void vst_tap(vst_graph *graph, const char *name, vst_value value);
vst_value vst_find(const vst_graph *graph, const char *name); /* a tap or an input; the null value if absent */

size_t vst_tap_count(const vst_graph *graph);
const char *vst_tap_name(const vst_graph *graph, size_t index); /* in the order of creation */

vst_shape vst_shape_at(const vst_graph *graph, vst_value value); /* rank 0 for the null value */

/* What is built from here on computes as in evaluation, in training programs, too: batch norm uses its running
 * statistics and leaves them as they are, dropout and drop path drop nothing. As model.eval() of PyTorch before a
 * training. */
void vst_graph_set_evaluation(vst_graph *graph, bool evaluation);

/* Sets the graph's error from outside the operations (a backbone's own checks); the message contains the current scope.
 * Use VST_ERROR_SHAPE for shapes that do not match, VST_ERROR_ARGUMENT for an invalid option, VST_ERROR_NOT_FOUND for a
 * tap that does not exist, VST_ERROR_UNSUPPORTED for a valid combination that is not implemented. */
void vst_graph_fail(vst_graph *graph, vst_status status, const char *format, ...) VST_PRINTF(3, 4);

/* Emits the nodes for d loss / d parameter of every trainable parameter that `loss` (a scalar) depends on. May be
 * called once per graph. */
void vst_differentiate(vst_graph *graph, vst_value loss);

/* Finishes the graph and returns its sticky error, if any. Adding an input, parameter or operation afterwards is an
 * error (VST_ERROR_ARGUMENT). May be called again. */
VST_NODISCARD vst_status vst_graph_finish(vst_graph *graph);

/* Multiply-accumulates of one forward pass in convolutions, linear layers, matrix products and attention, as papers
 * count them. A layer that is emitted twice for the same operands (the last block for all tokens and for the first
 * tokens only) counts once, with its larger form. */
double vst_graph_macs(const vst_graph *graph);

/* ---- Reading a graph. Nodes are in topological order, the order of creation. Names and lists are owned by the graph,
 * its params (names of parameters) or the program, and are valid as long as the graph; the other fields are copies.
 * Every index must be below the corresponding count. ---- */

typedef struct vst_node_info {
    const char *scope, *operation; /* "blocks.0.attn.qkv" ("" outside of scopes), "linear" */
    vst_shape shape;               /* of its first output */
    double macs;                   /* its share of vst_graph_macs */
    bool backward;                 /* emitted by vst_differentiate */
    bool quantizable;              /* a product that can compute on 8-bit integers: inputs x, weight, … */
    int input_count, output_count, attribute_count;
} vst_node_info;
size_t vst_graph_node_count(const vst_graph *graph);
vst_node_info vst_graph_node_at(const vst_graph *graph, size_t node);

typedef enum vst_value_kind { VST_VALUE_INPUT, VST_VALUE_PARAMETER, VST_VALUE_NODE } vst_value_kind;

/* A value that a node reads or writes. */
typedef struct vst_operand {
    const char *role; /* its name in the operation: "x", "weight", "bias"; a single output is "y" */
    vst_value value;
    vst_value_kind kind;
    const char *name; /* of an input or a parameter ("blocks.0.attn.qkv.weight"); NULL for a node's output */
    size_t node;      /* VST_VALUE_NODE: index of the node that computes it */
    vst_shape shape;
} vst_operand;
vst_operand vst_node_input_at(const vst_graph *graph, size_t node, int index);
vst_operand vst_node_output_at(const vst_graph *graph, size_t node, int index);

typedef enum vst_attribute_type {
    VST_ATTRIBUTE_INT,
    VST_ATTRIBUTE_FLOAT,
    VST_ATTRIBUTE_BOOL,
    VST_ATTRIBUTE_ENUM,
    VST_ATTRIBUTE_SHAPE,
    VST_ATTRIBUTE_INTS,
    VST_ATTRIBUTE_FLOATS
} vst_attribute_type;

/* An attribute of a node, named as in PyTorch or ONNX: "kernel", "stride", "groups", "epsilon", "heads". */
typedef struct vst_attribute {
    const char *name;
    vst_attribute_type type;
    int64_t integer;      /* INT; BOOL: 0 or 1; ENUM: its number */
    double number;        /* FLOAT */
    const char *text;     /* ENUM: its name */
    vst_shape dims;       /* SHAPE, INTS: `rank` numbers */
    const float *numbers; /* FLOATS: `number_count` of them */
    int number_count;
} vst_attribute;
vst_attribute vst_node_attribute_at(const vst_graph *graph, size_t node, int index);
/* Finds an attribute by name. Returns false and leaves *out unchanged if the node does not have it. */
bool vst_node_attribute_find(const vst_graph *graph, size_t node, const char *name, vst_attribute *out);
enum { VST_ATTRIBUTE_TEXT = 256 };
/* Writes "stride=2" or "order=[0, 2, 1]" to `text`, truncated if too long, and returns `text`. */
const char *vst_attribute_text(const vst_attribute *attribute, char text[VST_ATTRIBUTE_TEXT]);

/* The graph as text, one line per node with its attributes and inputs, or as Graphviz .dot. The caller frees it with
 * vst_free. NULL if out of memory. */
char *vst_graph_text(const vst_graph *graph);
char *vst_graph_dot(const vst_graph *graph);

VST_END_DECLS
#endif
