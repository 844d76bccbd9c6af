/* The parts of a program, of its packed weights and of its lowering, as the files of this folder share them. Internal
 * to vision/plan. */
#ifndef VISTILL_VISION_PLAN_INTERNAL_H
#define VISTILL_VISION_PLAN_INTERNAL_H

#include "vision/plan/fuse.h"
#include "vision/plan/lowering.h"
#include "vision/plan/program.h"

/* ---- programs ---- */

typedef enum vsti_space { SPACE_NONE, SPACE_ARENA, SPACE_VALUES, SPACE_GRADIENTS, SPACE_PACKED } vsti_space;

/* What a step reads or writes: its address is known once there is a context. */
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
    size_t first; /* of its operands in the program's */
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
    vsti_arguments *bound; /* of a reorder between places that stay; NULL until it has run */
    vsti_operand *inputs;  /* SPACE_VALUES, SPACE_PACKED or SPACE_NONE */
    int input_count, output_count;
    int first_output; /* its outputs are entries one after the other */
    bool needed;      /* while packing */
} pack_step;

typedef struct pack_entry {
    size_t bytes;
    char *memory;     /* of a weight that a program's steps read; NULL: only other pack steps read it */
    uint64_t version; /* of the params that `memory` was computed from, plus one */
    char *temporary;  /* while packing */
    int last_reader;  /* while packing: the last needed step that reads it, -1: none */
} pack_entry;

typedef struct pack_list {
    pack_step *steps; /* in an order in which they can run */
    pack_entry *entries;
    size_t step_count, step_capacity, entry_count, entry_capacity;
} pack_list;

void vsti_pack_list_clear(pack_list *list);
/* Appends a step with `output_count` new entries; the first is list->entry_count as it was before. `arguments` and
 * `inputs` are copied, `reorder` is taken over, also on failure. */
VST_NODISCARD vst_status vsti_pack_list_add(pack_list *list, const pack_step *what, const size_t *output_bytes);

/* Packed weights of programs over the same params. Each is there once, however many programs read it. */
VST_NODISCARD vst_status vsti_store_create(vsti_store **out, vst_params *params);
vsti_store *vsti_store_share(vsti_store *store);
void vsti_store_release(vsti_store *store);
/* Moves the steps of `list` to the store, except for those that are there already, and allocates memory for the entries
 * that `operands` name. Their entries become the store's. */
VST_NODISCARD vst_status vsti_store_take(vsti_store *store, pack_list *list, vsti_operand *operands,
                                         size_t operand_count);
/* Computes what does not belong to the present version of the params. */
VST_NODISCARD vst_status vsti_store_refresh(vsti_store *store);
char *vsti_store_memory(vsti_store *store, int entry);
size_t vsti_store_bytes(vsti_store *store);

/* ---- lowering ---- */

/* Lifetimes count nodes: [first, last], both inclusive. */
typedef struct buffer {
    size_t bytes;
    int first, last;
    int root;        /* itself, or the buffer whose memory this one is a view of */
    size_t shift;    /* bytes from the root's start */
    int last_node;   /* of roots: the last node that reads any value in it */
    bool pinned;     /* of roots: never overwritten (parameters, packed weights, outputs) */
    vsti_operand at; /* of roots; in the arena the offset comes last */
} buffer;

/* One format in which a value exists. */
typedef struct copy {
    vsti_format format;
    const vst_quant_entry *scale; /* of 8-bit formats */
    int buffer, next;             /* next copy of the same value, or -1 */
} copy;

/* What a value is kept as between the nodes that write and read it. */
typedef struct stored {
    vst_dtype dtype;
    const vst_quant_entry *scale; /* of 8-bit types */
    bool pending; /* it is still to be converted after its node; float32 is needed no longer than that */
} stored;

typedef struct row {      /* of the profile */
    int node, value;      /* value: what a reorder or a conversion moves, or 0 */
    const char *movement; /* of a value: "reorder", "cast", … */
    size_t element_bytes; /* of a value: read and written for each element */
    char fused[32];       /* what else the node's step computes: "+norm+add+relu" */
    char implementation[64];
} row;

struct vsti_lowering {
    vst_program *program;
    const vst_graph *graph;
    vst_status status;
    int node;             /* the time: the node in whose place a step is made */
    int host;             /* the node being lowered: `node`, or an earlier one that is fused with it */
    vsti_fusions fusions; /* of optimised programs */
    bool *needed;         /* by node */
    int *last_use;        /* by value: last needed node that reads it; node count for outputs; -1 unused */
    int *gradient_of;     /* by value: parameter whose gradient it is, plus one; the last of several that share it */
    int *first_copy;      /* by value: index in copies or -1 */
    stored *stored;       /* by value */
    copy *copies;
    size_t copy_count, copy_capacity;
    buffer *buffers;
    size_t buffer_count, buffer_capacity;
    int *bound; /* by operand of the program: its buffer */
    size_t bound_capacity;
    row *rows;
    size_t row_count, row_capacity;
    pack_list packed;
    vsti_descriptor **descriptors; /* of values whose steps are kernels of ours; primitives own theirs */
    size_t descriptor_count, descriptor_capacity;
};

/* ---- lowering.c ---- */
/* The buffer whose memory this one is, or is a view of. */
buffer *vsti_root_of(vsti_lowering *lowering, int index);
/* Where a parameter's value or gradient is, in SPACE_VALUES or SPACE_GRADIENTS. */
vsti_operand vsti_parameter_at(const vsti_lowering *lowering, vsti_space space, int parameter);
/* A buffer over memory outside the arena. */
vsti_buffer vsti_external(vsti_lowering *lowering, vsti_operand at, size_t bytes);
size_t vsti_value_bytes(const vsti_lowering *lowering, int value, vsti_format format);
/* Copies whole bytes from one buffer to another, as a step. */
void vsti_copy_step(vsti_lowering *lowering, size_t bytes, vsti_buffer from, vsti_buffer to);

/* Converts a value that was just written to the format that it is stored in; later nodes read that. */
void vsti_store_value(vsti_lowering *lowering, int value);

/* ---- formats.c ---- */
/* Fills lowering->stored by the program's precision and table of quantised values. */
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
/* Packs the lifetimes into one arena. */
VST_NODISCARD vst_status vsti_place_buffers(vsti_lowering *lowering);

/* ---- context.c ---- */
size_t vsti_context_bytes(const vst_program *program);

#endif
