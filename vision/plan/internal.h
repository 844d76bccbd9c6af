/* Structures shared by the files of this folder: programs, packed weights, lowering. Internal to vision/plan. */
#ifndef VISTILL_VISION_PLAN_INTERNAL_H
#define VISTILL_VISION_PLAN_INTERNAL_H

#include "vision/plan/fuse.h"
#include "vision/plan/lowering.h"
#include "vision/plan/program.h"

/* ---- programs ---- */

typedef enum vsti_space { SPACE_NONE, SPACE_ARENA, SPACE_VALUES, SPACE_GRADIENTS, SPACE_PACKED } vsti_space;

/* An operand of a step. A context resolves it to an address. */
typedef struct vsti_operand {
    vsti_space space;
    vsti_role role; /* of a primitive's operand */
    int entry;      /* SPACE_PACKED: which packed weight */
    size_t offset;  /* bytes from the start of the space or of the packed weight */
} vsti_operand;

typedef struct vsti_step {
    vsti_kernel_function *function; /* NULL: a primitive */
    void *arguments;
    vsti_primitive *primitive;
    size_t first; /* index of its first operand in the program's operands */
    int operand_count;
    int row; /* of the profile */
} vsti_step;

typedef struct vsti_input {
    char *name;
    vsti_operand at;
} vsti_input;

typedef struct vsti_store vsti_store;

struct vst_program {
    vst_params *params;
    vst_mode mode;
    uint64_t seed;
    bool plain;
    bool bf16; /* products compute in bf16 */
    int threads;
    vsti_store *store; /* packed weights */
    size_t arena_bytes;
    vsti_step *steps;
    size_t step_count, step_capacity;
    vsti_operand *operands; /* of all steps */
    size_t operand_count, operand_capacity;
    vsti_input *inputs;
    size_t input_count, input_capacity;
    vsti_operand *outputs;
    int output_count;
    vst_profile_row *rows; /* without times */
    size_t row_count;
};

/* ---- packed weights (packed.c) ---- */

/* A step that computes packed weights from parameters and other packed weights. */
typedef struct pack_step {
    vsti_kernel_function *function; /* NULL: a reorder */
    void *arguments;
    size_t argument_bytes;
    vsti_primitive *reorder;
    vsti_arguments *bound; /* arguments of a reorder between permanent addresses; NULL before its first run */
    vsti_operand *inputs;  /* SPACE_VALUES, SPACE_PACKED or SPACE_NONE */
    int input_count, output_count;
    int first_output; /* its outputs are consecutive entries */
    bool needed;      /* while packing */
} pack_step;

typedef struct pack_entry {
    size_t bytes;
    char *memory;     /* of a weight that steps of a program read; NULL: read by other pack steps only */
    uint64_t version; /* of the params that `memory` was computed from, plus one */
    char *temporary;  /* while packing */
    int producer;     /* index of the step that writes it */
    int readers;      /* while packing: needed steps that have not read it yet */
} pack_entry;

typedef struct pack_list {
    pack_step *steps; /* in order of execution */
    pack_entry *entries;
    size_t step_count, step_capacity, entry_count, entry_capacity;
} pack_list;

void vsti_pack_list_clear(pack_list *list);
/* Appends a step with `output_count` new entries, starting at the previous list->entry_count. `arguments` and `inputs`
 * are copied. The list takes ownership of `reorder`, also on failure. */
VST_NODISCARD vst_status vsti_pack_list_add(pack_list *list, const pack_step *what, const size_t *output_bytes);

/* The store of packed weights for programs over the same params. Weights are stored once for all programs. */
VST_NODISCARD vst_status vsti_store_create(vsti_store **out, vst_params *params);
vsti_store *vsti_store_share(vsti_store *store);
void vsti_store_release(vsti_store *store);
/* Moves the steps of `list` to the store, except those that it already has, and allocates memory for the entries that
 * `operands` refer to. The entries in `operands` are renumbered to those of the store. */
VST_NODISCARD vst_status vsti_store_take(vsti_store *store, pack_list *list, vsti_operand *operands,
                                         size_t operand_count);
/* Packs all weights that are not of the current version of the params. */
VST_NODISCARD vst_status vsti_store_refresh(vsti_store *store);
char *vsti_store_memory(vsti_store *store, int entry);
size_t vsti_store_bytes(vsti_store *store);

/* ---- lowering ---- */

/* A buffer and its lifetime in nodes, [first, last], both inclusive. */
typedef struct buffer {
    size_t bytes;
    int first, last;
    int root;        /* its own index, or that of the buffer of which it is a view */
    size_t shift;    /* offset in the root, bytes */
    int last_node;   /* of roots: the last node that reads any value in it */
    bool pinned;     /* of roots: never overwritten (parameters, packed weights, outputs) */
    vsti_operand at; /* of roots; offsets in the arena are assigned last */
} buffer;

/* A copy of a value in one format. */
typedef struct copy {
    vsti_format format;
    const vst_quant_entry *scale; /* of 8-bit formats */
    int buffer, next;             /* next copy of the same value, or -1 */
} copy;

/* The dtype in which a value is stored between the nodes that write and read it. */
typedef struct stored {
    vst_dtype dtype;
    const vst_quant_entry *scale; /* of 8-bit types */
    bool pending; /* true until it is converted after its node; the float32 copy is not needed afterwards */
} stored;

typedef struct product_scale {
    vst_quant_entry entry; /* its scales: `scale` */
    float scale;
} product_scale;

typedef struct row {      /* of the profile */
    int node, value;      /* value: the value of a reorder or conversion, or 0 */
    const char *movement; /* of a value: "reorder", "cast", … */
    size_t element_bytes; /* of a value: bytes read and written per element */
    char fused[32];       /* fused operations, such as "+norm+add+relu" */
    char implementation[64];
} row;

struct vsti_lowering {
    vst_program *program;
    const vst_graph *graph;
    vst_status status;
    int node;             /* the position of the current step, in nodes */
    int host;             /* the node that is lowered: `node`, or an earlier one that is fused with it */
    vsti_fusions fusions; /* of optimised programs */
    bool *needed;         /* by node */
    int *last_use; /* by value: index of the last needed node that reads it; the node count for outputs; -1 if unused */
    int *gradient_of; /* by value: parameter whose gradient it is, plus one; the last of several that share it */
    int *first_copy;  /* by value: index in copies or -1 */
    stored *stored;   /* by value */
    bool *quantized;  /* by node: a product on 8-bit integers */
    product_scale *product_scales; /* of options.quant's products */
    copy *copies;
    size_t copy_count, copy_capacity;
    buffer *buffers;
    size_t buffer_count, buffer_capacity;
    int *bound; /* by operand of the program: its buffer */
    size_t bound_capacity;
    row *rows;
    size_t row_count, row_capacity;
    pack_list packed;
    vsti_descriptor **descriptors; /* layouts of values written by our kernels; primitives own theirs */
    size_t descriptor_count, descriptor_capacity;
};

/* ---- lowering.c ---- */
/* The root of a buffer: the buffer itself, or the one of which it is a view. */
buffer *vsti_root_of(vsti_lowering *lowering, int index);
/* The operand of a parameter's value (SPACE_VALUES) or gradient (SPACE_GRADIENTS). */
vsti_operand vsti_parameter_at(const vsti_lowering *lowering, vsti_space space, int parameter);
/* A buffer for memory outside the arena. */
vsti_buffer vsti_external(vsti_lowering *lowering, vsti_operand at, size_t bytes);
size_t vsti_value_bytes(const vsti_lowering *lowering, int value, vsti_format format);
/* Appends a step that copies bytes from one buffer to another. */
void vsti_copy_step(vsti_lowering *lowering, size_t bytes, vsti_buffer from, vsti_buffer to);

/* Converts a value that was just written to the format in which it is stored for later nodes. */
void vsti_store_value(vsti_lowering *lowering, int value);

/* ---- formats.c ---- */
/* Fills lowering->stored from `precision` and `quant` of the options. */
VST_NODISCARD vst_status vsti_choose_formats(vsti_lowering *lowering, const vst_program_options *options);
/* A conversion between float32 and `other` (`scale` for 8-bit types) of a tensor of `shape` in one layout. */
typedef struct conversion {
    const char *name; /* "cast", "quantize", "dequantize" */
    vsti_kernel_function *function;
    void *arguments; /* to free */
    size_t argument_bytes;
} conversion;
VST_NODISCARD vst_status vsti_conversion_create(conversion *out, bool to_f32, vsti_format other,
                                                const vst_quant_entry *scale, const vst_shape *shape);

/* ---- arena.c ---- */
/* Assigns arena offsets to all buffers. */
VST_NODISCARD vst_status vsti_place_buffers(vsti_lowering *lowering);

/* ---- context.c ---- */
size_t vsti_context_bytes(const vst_program *program);

#endif
