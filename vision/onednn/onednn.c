/* Layouts and primitives over oneDNN's C API, version 3. All threads share one engine. */
#include "vision/onednn/onednn.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"

struct vsti_descriptor {
    dnnl_memory_desc_t md;
};

struct vsti_primitive {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t descriptor;
    vsti_descriptor *described[VSTI_ROLES]; /* NULL: plain or not used */
    size_t bytes[VSTI_ROLES];
};

struct vsti_arguments {
    int count;
    dnnl_exec_arg_t list[];
};

struct vsti_stream {
    dnnl_stream_t stream;
};

static dnnl_engine_t engine;
static dnnl_status_t start_status;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) { start_status = dnnl_engine_create(&engine, dnnl_cpu, 0); }

static vst_status failed(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return VST_OK;
    if (status == dnnl_out_of_memory) return vst_fail(VST_ERROR_MEMORY, "oneDNN: out of memory in %s", what);
    if (status == dnnl_unimplemented) return vst_fail(VST_ERROR_UNSUPPORTED, "oneDNN does not support this %s", what);
    return vst_fail(VST_ERROR_INTERNAL, "oneDNN: %s failed with status %d", what, (int)status);
}

static vst_status ready(void) {
    pthread_once(&once, start);
    return failed(start_status, "engine");
}

vsti_bf16_support vsti_bf16_supported(void) {
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), avx512 = dnnl_cpu_isa_avx512_core,
                   native = dnnl_cpu_isa_avx512_core_bf16;
    if ((isa & avx512) != avx512) return VSTI_BF16_NONE;
    return (isa & native) == native ? VSTI_BF16_NATIVE : VSTI_BF16_EMULATED;
}

const char *vsti_onednn_version(char text[VSTI_VERSION_TEXT]) {
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, VSTI_VERSION_TEXT, "%d.%d.%d", version->major, version->minor, version->patch);
    return text;
}

/* ---- layouts ----------------------------------------------------------------------------------------------------- */

/* oneDNN's functions take arrays of DNNL_MAX_NDIMS, of which they read `rank` elements. */
static dnnl_status_t create_strided(dnnl_memory_desc_t *out, int rank, const int64_t *dims, const int64_t *strides,
                                    dnnl_data_type_t type) {
    dnnl_dims_t all_dims = {0}, all_strides = {0};
    memcpy(all_dims, dims, (size_t)rank * sizeof *dims);
    memcpy(all_strides, strides, (size_t)rank * sizeof *strides);
    return dnnl_memory_desc_create_with_strides(out, rank, all_dims, type, all_strides);
}

static dnnl_memory_desc_t plain_typed(int rank, const int64_t *dims, dnnl_data_type_t type) {
    dnnl_memory_desc_t descriptor = NULL;
    dnnl_dims_t strides;
    int64_t stride = 1;
    for (int i = rank; i-- > 0; stride *= dims[i]) strides[i] = stride;
    create_strided(&descriptor, rank, dims, strides, type);
    return descriptor;
}

static dnnl_memory_desc_t plain_descriptor(int rank, const int64_t *dims) { return plain_typed(rank, dims, dnnl_f32); }

static dnnl_memory_desc_t typed_descriptor(int rank, const int64_t *dims, dnnl_data_type_t type,
                                           dnnl_format_tag_t tag) {
    dnnl_memory_desc_t descriptor = NULL;
    dnnl_dims_t all_dims = {0};
    memcpy(all_dims, dims, (size_t)rank * sizeof *dims);
    dnnl_memory_desc_create_with_tag(&descriptor, rank, all_dims, type, tag);
    return descriptor;
}

static dnnl_memory_desc_t tagged_descriptor(int rank, const int64_t *dims, dnnl_format_tag_t tag) {
    return typed_descriptor(rank, dims, dnnl_f32, tag);
}

/* What a descriptor says of the layout. */
typedef struct blocks {
    int rank, inner;
    dnnl_dims_t *dims, *strides, *padded, *sizes, *indices; /* sizes, indices: of `inner` blocks */
    dnnl_data_type_t type;
} blocks;

static blocks query_blocks(const_dnnl_memory_desc_t md) {
    blocks b = {0};
    dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &b.rank);
    dnnl_memory_desc_query(md, dnnl_query_dims, &b.dims);
    dnnl_memory_desc_query(md, dnnl_query_strides, &b.strides);
    dnnl_memory_desc_query(md, dnnl_query_padded_dims, &b.padded);
    dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &b.inner);
    dnnl_memory_desc_query(md, dnnl_query_inner_blks, &b.sizes);
    dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &b.indices);
    dnnl_memory_desc_query(md, dnnl_query_data_type, &b.type);
    return b;
}

/* True if every element has the position that it has in the plain layout. Strides of dimensions of size 1 do not
 * matter, and channel blocks are plain for a map of one pixel. */
static bool is_plain(const_dnnl_memory_desc_t descriptor) {
    const blocks b = query_blocks(descriptor);
    const int rank = b.rank, inner = b.inner;
    dnnl_dims_t *const dims = b.dims, *const strides = b.strides, *const padded = b.padded, *const sizes = b.sizes,
                       *const indices = b.indices;
    if (inner > 1 || memcmp(*dims, *padded, (size_t)rank * sizeof **dims) != 0) return false;
    int64_t stride = 1;
    for (int i = rank; i-- > 0; stride *= (*dims)[i]) {
        const bool blocked = inner && (*indices)[0] == i;
        if (blocked ? stride != 1 || ((*dims)[i] > (*sizes)[0] && (*strides)[i] != (*sizes)[0])
                    : (*dims)[i] > 1 && (*strides)[i] != stride)
            return false;
    }
    return true;
}

static bool equal_dims(const dnnl_dims_t *a, const dnnl_dims_t *b, int count) {
    return memcmp(*a, *b, (size_t)count * sizeof **a) == 0;
}

/* Whatever their types are. */
static bool same_layout(const_dnnl_memory_desc_t a, const_dnnl_memory_desc_t b) {
    const blocks x = query_blocks(a), y = query_blocks(b);
    if (x.type == y.type) return dnnl_memory_desc_equal(a, b) != 0;
    return x.rank == y.rank && x.inner == y.inner && equal_dims(x.dims, y.dims, x.rank) &&
           equal_dims(x.strides, y.strides, x.rank) && equal_dims(x.padded, y.padded, x.rank) &&
           equal_dims(x.sizes, y.sizes, x.inner) && equal_dims(x.indices, y.indices, x.inner);
}

/* The same layout with elements of another type, of strided tensors and of images with channels in blocks; NULL for
 * others, which no two types share. */
static dnnl_memory_desc_t with_type(const_dnnl_memory_desc_t md, dnnl_data_type_t type) {
    const blocks b = query_blocks(md);
    dnnl_memory_desc_t made = NULL;
    if (b.type == type) dnnl_memory_desc_clone(&made, md);
    else if (b.inner == 0) create_strided(&made, b.rank, *b.dims, *b.strides, type);
    else if (b.inner == 1 && b.rank == 4)
        made = typed_descriptor(b.rank, *b.dims, type,
                                (*b.sizes)[0] == 4   ? dnnl_nChw4c
                                : (*b.sizes)[0] == 8 ? dnnl_nChw8c
                                                     : dnnl_nChw16c);
    if (!made || same_layout(made, md)) return made;
    dnnl_memory_desc_destroy(made);
    return NULL;
}

static vst_status take_descriptor(vsti_descriptor **out, const_dnnl_memory_desc_t md) {
    *out = vst_calloc(1, sizeof **out);
    if (!*out) return vst_fail_memory(sizeof **out);
    dnnl_status_t status = dnnl_memory_desc_clone(&(*out)->md, md);
    if (status == dnnl_success) return VST_OK;
    vst_free(*out);
    *out = NULL;
    return failed(status, "layout");
}

vst_status vsti_descriptor_strided(vsti_descriptor **out, const vst_shape *shape, const int64_t *strides) {
    dnnl_memory_desc_t md;
    *out = NULL;
    dnnl_status_t created = create_strided(&md, shape->rank, shape->dim, strides, dnnl_f32);
    if (created != dnnl_success) return failed(created, "layout");
    vst_status status = take_descriptor(out, md);
    dnnl_memory_desc_destroy(md);
    return status;
}

vst_status vsti_descriptor_channels(vsti_descriptor **out, const vst_shape *shape, int64_t block) {
    const bool last = block == shape->dim[1];
    VST_ASSERT(last || block == 8 || block == 16);
    dnnl_memory_desc_t md = tagged_descriptor(shape->rank, shape->dim,
                                              last         ? dnnl_nhwc
                                              : block == 8 ? dnnl_nChw8c
                                                           : dnnl_nChw16c);
    *out = NULL;
    if (!md) return vst_fail(VST_ERROR_INTERNAL, "oneDNN: this layout does not exist for %d dimensions", shape->rank);
    vst_status status = take_descriptor(out, md);
    dnnl_memory_desc_destroy(md);
    return status;
}

void vsti_descriptor_destroy(vsti_descriptor *descriptor) {
    if (!descriptor) return;
    dnnl_memory_desc_destroy(descriptor->md);
    vst_free(descriptor);
}

vsti_layout vsti_layout_of(const vsti_descriptor *descriptor) {
    if (!descriptor || is_plain(descriptor->md)) return (vsti_layout){.kind = VSTI_LAYOUT_PLAIN};
    return (vsti_layout){VSTI_LAYOUT_DESCRIBED, descriptor};
}

bool vsti_layout_equal(vsti_layout a, vsti_layout b) {
    if (a.kind != b.kind) return false;
    return a.kind == VSTI_LAYOUT_PLAIN || a.descriptor == b.descriptor ||
           same_layout(a.descriptor->md, b.descriptor->md);
}

int64_t vsti_layout_elements(vsti_layout layout, const vst_shape *shape) {
    if (layout.kind == VSTI_LAYOUT_PLAIN) return vst_shape_count(shape);
    return (int64_t)(dnnl_memory_desc_get_size(layout.descriptor->md) /
                     dnnl_data_type_size(query_blocks(layout.descriptor->md).type));
}

bool vsti_layout_is_padded(vsti_layout layout) {
    if (layout.kind == VSTI_LAYOUT_PLAIN) return false;
    const blocks b = query_blocks(layout.descriptor->md);
    return !equal_dims(b.dims, b.padded, b.rank);
}

bool vsti_layout_channel_block(vsti_layout layout, int64_t *block) {
    *block = 1;
    if (layout.kind == VSTI_LAYOUT_PLAIN) return true;
    const blocks b = query_blocks(layout.descriptor->md);
    const int rank = b.rank, inner = b.inner;
    dnnl_dims_t *const dims = b.dims, *const strides = b.strides, *const sizes = b.sizes, *const indices = b.indices;
    if (rank != 4 || inner > 1 || (inner == 1 && (*indices)[0] != 1)) return false;
    const int64_t channels = (*dims)[1], width = (*dims)[3], pixels = (*dims)[2] * width;
    *block = inner ? (*sizes)[0] : channels; /* without inner blocks: channels last */
    const int64_t count = (channels + *block - 1) / *block;
    const bool outer = count == 1 || (*strides)[1] == pixels * *block,
               image = (*dims)[0] == 1 || (*strides)[0] == count * pixels * *block;
    return outer && image && (width == 1 || (*strides)[3] == *block) &&
           ((*dims)[2] == 1 || (*strides)[2] == width * *block);
}

bool vsti_format_equal(vsti_format a, vsti_format b) {
    return a.dtype == b.dtype && vsti_layout_equal(a.layout, b.layout);
}

size_t vsti_format_bytes(vsti_format format, const vst_shape *shape) {
    return (size_t)vsti_layout_elements(format.layout, shape) * vst_dtype_size(format.dtype);
}

/* ---- primitives: common ------------------------------------------------------------------------------------------ */

static const struct {
    dnnl_query_t query;
    int index, argument;
} roles[VSTI_ROLES] = {
    [VSTI_SRC] = {dnnl_query_src_md, 0, DNNL_ARG_SRC},
    [VSTI_WEIGHTS] = {dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
    [VSTI_BIAS] = {dnnl_query_weights_md, 1, DNNL_ARG_BIAS},
    [VSTI_DST] = {dnnl_query_dst_md, 0, DNNL_ARG_DST},
    [VSTI_DIFF_SRC] = {dnnl_query_diff_src_md, 0, DNNL_ARG_DIFF_SRC},
    [VSTI_DIFF_WEIGHTS] = {dnnl_query_diff_weights_md, 0, DNNL_ARG_DIFF_WEIGHTS},
    [VSTI_DIFF_BIAS] = {dnnl_query_diff_weights_md, 1, DNNL_ARG_DIFF_BIAS},
    [VSTI_DIFF_DST] = {dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST},
    /* oneDNN has no query for statistics and scales of batch norm; they are always plain vectors. */
    [VSTI_MEAN] = {dnnl_query_undef, 0, DNNL_ARG_MEAN},
    [VSTI_VARIANCE] = {dnnl_query_undef, 0, DNNL_ARG_VARIANCE},
    [VSTI_SCALE] = {dnnl_query_undef, 0, DNNL_ARG_SCALE},
    [VSTI_SHIFT] = {dnnl_query_undef, 0, DNNL_ARG_SHIFT},
    [VSTI_DIFF_SCALE] = {dnnl_query_undef, 0, DNNL_ARG_DIFF_SCALE},
    [VSTI_DIFF_SHIFT] = {dnnl_query_undef, 0, DNNL_ARG_DIFF_SHIFT},
    [VSTI_WORKSPACE] = {dnnl_query_workspace_md, 0, DNNL_ARG_WORKSPACE},
    [VSTI_SCRATCHPAD] = {dnnl_query_scratchpad_md, 0, DNNL_ARG_SCRATCHPAD},
    [VSTI_WEIGHTS_SCALE] = {dnnl_query_undef, 0, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS},
    [VSTI_DST_SCALE] = {dnnl_query_undef, 0, DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST},
};

void vsti_primitive_destroy(vsti_primitive *primitive) {
    if (!primitive) return;
    for (int i = 0; i < VSTI_ROLES; i++) vsti_descriptor_destroy(primitive->described[i]);
    if (primitive->primitive) dnnl_primitive_destroy(primitive->primitive);
    if (primitive->descriptor) dnnl_primitive_desc_destroy(primitive->descriptor);
    vst_free(primitive);
}

/* Takes ownership of the descriptor, creates the primitive, and records layout and size of every argument. */
static vst_status complete(vsti_primitive **out, dnnl_primitive_desc_t descriptor) {
    vst_status status = VST_OK;
    vsti_primitive *primitive = vst_calloc(1, sizeof *primitive);
    if (!primitive) {
        dnnl_primitive_desc_destroy(descriptor);
        return vst_fail_memory(sizeof *primitive);
    }
    primitive->descriptor = descriptor;
    VST_TRY(failed(dnnl_primitive_create(&primitive->primitive, descriptor), "primitive"));
    for (int i = 0; i < VSTI_ROLES; i++) {
        if (roles[i].query == dnnl_query_undef) continue;
        const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(descriptor, roles[i].query, roles[i].index);
        primitive->bytes[i] = md ? dnnl_memory_desc_get_size(md) : 0;
        if (!primitive->bytes[i] || i == VSTI_SCRATCHPAD || i == VSTI_WORKSPACE || is_plain(md)) continue;
        VST_TRY(take_descriptor(&primitive->described[i], md));
    }
out:
    if (status == VST_OK) *out = primitive;
    else vsti_primitive_destroy(primitive);
    return status;
}

static vst_dtype dtype_of(dnnl_data_type_t type) {
    switch (type) {
    case dnnl_bf16: return VST_BF16;
    case dnnl_u8: return VST_U8;
    case dnnl_s8: return VST_I8;
    default: return VST_F32;
    }
}

vsti_format vsti_primitive_format(const vsti_primitive *primitive, vsti_role role) {
    const_dnnl_memory_desc_t md =
        dnnl_primitive_desc_query_md(primitive->descriptor, roles[role].query, roles[role].index);
    return (vsti_format){dtype_of(query_blocks(md).type), vsti_layout_of(primitive->described[role])};
}

size_t vsti_primitive_bytes(const vsti_primitive *primitive, vsti_role role) { return primitive->bytes[role]; }

const char *vsti_primitive_implementation(const vsti_primitive *primitive) {
    const char *text = NULL;
    dnnl_primitive_desc_query(primitive->descriptor, dnnl_query_impl_info_str, 0, &text);
    return text ? text : "unknown";
}

bool vsti_primitive_is_reference(const vsti_primitive *primitive) {
    return strncmp(vsti_primitive_implementation(primitive), "ref", 3) == 0;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static vst_status create_memory(dnnl_memory_t *out, const vsti_primitive *primitive, vsti_role role, void *memory) {
    const_dnnl_memory_desc_t md = NULL;
    dnnl_memory_desc_t vector = NULL;
    if (roles[role].query != dnnl_query_undef) {
        md = dnnl_primitive_desc_query_md(primitive->descriptor, roles[role].query, roles[role].index);
    } else { /* a vector over the channels of the source, or of the product */
        const dnnl_query_t over = role == VSTI_WEIGHTS_SCALE ? dnnl_query_dst_md : dnnl_query_src_md;
        const_dnnl_memory_desc_t described = dnnl_primitive_desc_query_md(primitive->descriptor, over, 0);
        dnnl_dims_t *dims = NULL;
        dnnl_memory_desc_query(described, dnnl_query_dims, &dims);
        vector = plain_descriptor(1, role == VSTI_DST_SCALE ? (int64_t[]){1} : &(*dims)[1]);
        md = vector;
    }
    const dnnl_status_t created = dnnl_memory_create(out, md, engine, memory);
    if (vector) dnnl_memory_desc_destroy(vector);
    return failed(created, "memory");
}

size_t vsti_arguments_bytes(int count) { return sizeof(vsti_arguments) + (size_t)count * sizeof(dnnl_exec_arg_t); }

vst_status vsti_arguments_create(vsti_arguments **out, const vsti_primitive *primitive, const vsti_role *used,
                                 void *const *memory, int count) {
    vst_status status = VST_OK;
    vsti_arguments *arguments = vst_calloc(1, vsti_arguments_bytes(count));
    *out = NULL;
    if (!arguments) return vst_fail_memory(vsti_arguments_bytes(count));
    for (; arguments->count < count; arguments->count++) {
        dnnl_exec_arg_t *argument = &arguments->list[arguments->count];
        argument->arg = roles[used[arguments->count]].argument;
        VST_TRY(create_memory(&argument->memory, primitive, used[arguments->count], memory[arguments->count]));
    }
    *out = arguments;
    arguments = NULL;
out:
    vsti_arguments_destroy(arguments);
    return status;
}

void vsti_arguments_destroy(vsti_arguments *arguments) {
    if (!arguments) return;
    for (int i = 0; i < arguments->count; i++) dnnl_memory_destroy(arguments->list[i].memory);
    vst_free(arguments);
}

vst_status vsti_stream_create(vsti_stream **out) {
    *out = NULL;
    vst_status status = ready();
    if (status != VST_OK) return status;
    vsti_stream *stream = vst_calloc(1, sizeof *stream);
    if (!stream) return vst_fail_memory(sizeof *stream);
    VST_TRY(failed(dnnl_stream_create(&stream->stream, engine, dnnl_stream_default_flags), "stream"));
    *out = stream;
    stream = NULL;
out:
    vsti_stream_destroy(stream);
    return status;
}

size_t vsti_stream_bytes(void) { return sizeof(vsti_stream); }

void vsti_stream_destroy(vsti_stream *stream) {
    if (!stream) return;
    if (stream->stream) dnnl_stream_destroy(stream->stream);
    vst_free(stream);
}

vst_status vsti_primitive_run(const vsti_primitive *primitive, vsti_stream *stream, const vsti_arguments *arguments) {
    return failed(dnnl_primitive_execute(primitive->primitive, stream->stream, arguments->count, arguments->list),
                  "execution");
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static dnnl_primitive_attr_t new_attributes(void) {
    dnnl_primitive_attr_t attributes = NULL;
    if (dnnl_primitive_attr_create(&attributes) == dnnl_success)
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    return attributes;
}

static dnnl_status_t append_activation(dnnl_post_ops_t post, vsti_activation activation) {
    switch (activation) {
    case VSTI_RELU: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_relu, 0, 0);
    case VSTI_RELU6: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_clip_v2, 0, 6);
    case VSTI_GELU: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_gelu_erf, 0, 0);
    case VSTI_SILU: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_swish, 1, 0);
    case VSTI_SIGMOID: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_logistic, 0, 0);
    case VSTI_HARDSWISH: return dnnl_post_ops_append_eltwise(post, dnnl_eltwise_hardswish, 1.0f / 6, 0.5f);
    }
    return dnnl_invalid_arguments;
}

static bool is_integer(vsti_arithmetic arithmetic) {
    return arithmetic == VSTI_INT8 || arithmetic == VSTI_INT8_TO_UINT8;
}

/* Scales of a product on integers. `weights_mask` has a bit for each dimension of the weights that has its own. */
static dnnl_status_t set_scales(dnnl_primitive_attr_t attributes, vsti_arithmetic arithmetic, int weights_mask) {
    if (!is_integer(arithmetic)) return dnnl_success;
    const dnnl_status_t status = dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, weights_mask);
    if (status != dnnl_success || arithmetic == VSTI_INT8) return status;
    return dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_DST, 0);
}

static dnnl_data_type_t source_type(vsti_arithmetic arithmetic) {
    if (is_integer(arithmetic)) return dnnl_u8;
    return arithmetic == VSTI_FLOAT32 ? dnnl_f32 : dnnl_bf16;
}
static dnnl_data_type_t weights_type(vsti_arithmetic arithmetic) {
    if (is_integer(arithmetic)) return dnnl_s8;
    return arithmetic == VSTI_FLOAT32 ? dnnl_f32 : dnnl_bf16;
}
static dnnl_data_type_t target_type(vsti_arithmetic arithmetic) {
    if (arithmetic == VSTI_BFLOAT16) return dnnl_bf16;
    return arithmetic == VSTI_INT8_TO_UINT8 ? dnnl_u8 : dnnl_f32;
}

/* Attributes of a product: user scratchpad, scales, and what is done to the result. */
static dnnl_primitive_attr_t product_attributes(const vsti_post *after, vsti_arithmetic arithmetic, int weights_mask) {
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_post_ops_t post = NULL;
    dnnl_status_t status = attributes ? set_scales(attributes, arithmetic, weights_mask) : dnnl_out_of_memory;
    if (status == dnnl_success && !after->sum && !after->activate && after->offset == 0) return attributes;
    if (status == dnnl_success) status = dnnl_post_ops_create(&post);
    if (status == dnnl_success && after->sum)
        status = arithmetic == VSTI_INT8_TO_UINT8 ? dnnl_post_ops_append_sum(post, after->sum_scale, 0, dnnl_u8)
                 : arithmetic == VSTI_BFLOAT16    ? dnnl_post_ops_append_sum(post, 1.0f, 0, dnnl_bf16)
                                                  : dnnl_post_ops_append_sum(post, 1.0f, 0, dnnl_f32);
    if (status == dnnl_success && after->activate) status = append_activation(post, after->activation);
    if (status == dnnl_success && after->offset != 0)
        status = dnnl_post_ops_append_eltwise(post, dnnl_eltwise_linear, 1, after->offset);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, post);
    if (post) dnnl_post_ops_destroy(post);
    if (status == dnnl_success) return attributes;
    dnnl_primitive_attr_destroy(attributes); /* oneDNN then fails to create the primitive */
    return NULL;
}

/* Creates the primitive and frees everything that was needed to describe it. */
static vst_status finish(vsti_primitive **out, dnnl_status_t created, dnnl_primitive_desc_t descriptor,
                         const char *what, dnnl_primitive_attr_t attributes, const dnnl_memory_desc_t *used,
                         int used_count) {
    for (int i = 0; i < used_count; i++)
        if (used[i]) dnnl_memory_desc_destroy(used[i]);
    dnnl_primitive_attr_destroy(attributes);
    if (created != dnnl_success) return failed(created, what);
    return complete(out, descriptor);
}

/* ---- convolution --------------------------------------------------------------------------------------------------
 */

typedef struct convolution_descriptors {
    dnnl_memory_desc_t source, weights, bias, target;
    dnnl_dims_t strides, dilations, left, right;
} convolution_descriptors;

/* The shape of a plain weight for oneDNN: with groups it has one more dimension than timm's. */
static int weight_dims(const vsti_convolution *c, int64_t dims[5]) {
    int rank = 0;
    if (c->groups > 1) dims[rank++] = c->groups;
    dims[rank++] = c->out / c->groups;
    dims[rank++] = c->in / c->groups;
    dims[rank++] = c->kernel;
    dims[rank++] = c->kernel;
    return rank;
}

static int64_t padding_after(int64_t in, int64_t before, int64_t out, const vsti_convolution *c) {
    return (out - 1) * c->stride + (c->kernel - 1) * c->dilation + 1 - in - before;
}

/* True if channels in blocks of 8 are faster than oneDNN's choice of channels last (tuning.h). */
static bool prefers_blocks(const vsti_convolution *c) {
    const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    const bool depthwise = c->groups == c->in && c->groups == c->out;
    const int64_t in = depthwise ? c->in : c->in / c->groups, out = depthwise ? c->out : c->out / c->groups;
    if (!c->inference || c->plain || in % 8 || out % 8) return false;
    if (isa != dnnl_cpu_isa_avx2 && isa != dnnl_cpu_isa_avx2_vnni) return false;
    return c->kernel == 1 || depthwise || (c->stride == 1 && c->out_height >= VSTI_LARGE_MAP);
}

/* Images of `type`: on integers channels-last, as the fast convolutions have them. */
static dnnl_memory_desc_t image_descriptor(const vsti_convolution *c, const int64_t dims[4], dnnl_data_type_t type) {
    if (is_integer(c->arithmetic)) return typed_descriptor(4, dims, type, dnnl_nhwc);
    if (prefers_blocks(c)) return tagged_descriptor(4, dims, dnnl_nChw8c);
    return c->plain ? plain_typed(4, dims, type) : typed_descriptor(4, dims, type, dnnl_format_tag_any);
}

typedef enum pass { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS } pass;

/* Source and target, in a backward pass their gradients; gradients of weights are float32. */
static convolution_descriptors describe(const vsti_convolution *c, pass which) {
    const dnnl_data_type_t factor = source_type(c->arithmetic), result = target_type(c->arithmetic),
                           weight = which == BACKWARD_WEIGHTS ? dnnl_f32 : weights_type(c->arithmetic);
    const int64_t in[] = {c->batch, c->in, c->height, c->width},
                  out[] = {c->batch, c->out, c->out_height, c->out_width};
    int64_t weights[5];
    const int rank = weight_dims(c, weights);
    convolution_descriptors d = {.source = image_descriptor(c, in, which == BACKWARD_DATA ? result : factor),
                                 .weights = c->plain ? plain_typed(rank, weights, weight)
                                                     : typed_descriptor(rank, weights, weight, dnnl_format_tag_any),
                                 .bias = c->bias ? plain_descriptor(1, &c->out) : NULL,
                                 .target = image_descriptor(c, out, which == FORWARD ? result : factor),
                                 .strides = {c->stride, c->stride},
                                 .dilations = {c->dilation - 1, c->dilation - 1},
                                 .left = {c->top, c->left},
                                 .right = {padding_after(c->height, c->top, c->out_height, c),
                                           padding_after(c->width, c->left, c->out_width, c)}};
    return d;
}

vst_status vsti_convolution_forward(vsti_primitive **out, const vsti_convolution *c) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    convolution_descriptors d = describe(c, FORWARD);
    dnnl_primitive_attr_t attributes = product_attributes(&c->after, c->arithmetic, c->groups > 1 ? 3 : 1);
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t created =
        !attributes ? dnnl_out_of_memory
                    : dnnl_convolution_forward_primitive_desc_create(
                          &descriptor, engine, c->inference ? dnnl_forward_inference : dnnl_forward_training,
                          dnnl_convolution_direct, d.source, d.weights, d.bias, d.target, d.strides, d.dilations,
                          d.left, d.right, attributes);
    return finish(out, created, descriptor, "convolution", attributes, &d.source, 4);
}

/* The forward descriptor, which backward descriptors need as a hint. */
static dnnl_primitive_desc_t forward_hint(const vsti_convolution *c) {
    vsti_convolution forward = *c;
    if (c->arithmetic == VSTI_BFLOAT16_TO_FLOAT32) forward.arithmetic = VSTI_BFLOAT16;
    convolution_descriptors d = describe(&forward, FORWARD);
    dnnl_primitive_desc_t hint = NULL;
    dnnl_convolution_forward_primitive_desc_create(&hint, engine, dnnl_forward_training, dnnl_convolution_direct,
                                                   d.source, d.weights, d.bias, d.target, d.strides, d.dilations,
                                                   d.left, d.right, NULL);
    for (dnnl_memory_desc_t *md = &d.source; md <= &d.target; md++)
        if (*md) dnnl_memory_desc_destroy(*md);
    return hint;
}

vst_status vsti_convolution_backward_data(vsti_primitive **out, const vsti_convolution *c) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    convolution_descriptors d = describe(c, BACKWARD_DATA);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL, hint = forward_hint(c);
    dnnl_status_t created = dnnl_convolution_backward_data_primitive_desc_create(
        &descriptor, engine, dnnl_convolution_direct, d.source, d.weights, d.target, d.strides, d.dilations, d.left,
        d.right, hint, attributes);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return finish(out, created, descriptor, "convolution's backward pass to its input", attributes, &d.source, 4);
}

vst_status vsti_convolution_backward_weights(vsti_primitive **out, const vsti_convolution *c) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    convolution_descriptors d = describe(c, BACKWARD_WEIGHTS);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL, hint = forward_hint(c);
    dnnl_status_t created = dnnl_convolution_backward_weights_primitive_desc_create(
        &descriptor, engine, dnnl_convolution_direct, d.source, d.weights, d.bias, d.target, d.strides, d.dilations,
        d.left, d.right, hint, attributes);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return finish(out, created, descriptor, "convolution's backward pass to its weights", attributes, &d.source, 4);
}

/* ---- matmul -------------------------------------------------------------------------------------------------------
 */

vst_status vsti_matmul_create(vsti_primitive **out, const vsti_matmul *m) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    const int64_t bias_dims[3] = {1, 1, m->dims_c[m->rank - 1]};
    dnnl_memory_desc_t used[4] = {NULL, NULL, m->bias ? plain_descriptor(m->rank, bias_dims + 3 - m->rank) : NULL,
                                  NULL};
    create_strided(&used[0], m->rank, m->dims_a, m->strides_a, source_type(m->arithmetic));
    create_strided(&used[3], m->rank, m->dims_c, m->strides_c, target_type(m->arithmetic));
    if (m->pack) used[1] = typed_descriptor(m->rank, m->dims_b, weights_type(m->arithmetic), dnnl_format_tag_any);
    else create_strided(&used[1], m->rank, m->dims_b, m->strides_b, weights_type(m->arithmetic));
    dnnl_primitive_attr_t attributes = product_attributes(&m->after, m->arithmetic, 2);
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t created = !attributes ? dnnl_out_of_memory
                                        : dnnl_matmul_primitive_desc_create(&descriptor, engine, used[0], used[1],
                                                                            used[2], used[3], attributes);
    return finish(out, created, descriptor, "matrix product", attributes, used, 4);
}

/* ---- batch norm ----------------------------------------------------------------------------------------------------
 */

static dnnl_data_type_t type_of(vst_dtype dtype) {
    VST_ASSERT(dtype == VST_F32 || dtype == VST_BF16);
    return dtype == VST_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t descriptor_of(const vst_shape *shape, vsti_format format) {
    const dnnl_data_type_t type = type_of(format.dtype);
    if (format.layout.kind == VSTI_LAYOUT_PLAIN) return plain_typed(shape->rank, shape->dim, type);
    return with_type(format.layout.descriptor->md, type);
}

vst_status vsti_batch_norm_forward(vsti_primitive **out, const vst_shape *shape, vsti_format format, double epsilon,
                                   bool training) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    dnnl_memory_desc_t data = descriptor_of(shape, format);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL;
    const unsigned flags = dnnl_use_scale | dnnl_use_shift | (training ? 0 : dnnl_use_global_stats);
    dnnl_status_t created = dnnl_batch_normalization_forward_primitive_desc_create(
        &descriptor, engine, training ? dnnl_forward_training : dnnl_forward_inference, data, data, (float)epsilon,
        flags, attributes);
    return finish(out, created, descriptor, "batch norm", attributes, &data, 1);
}

vst_status vsti_batch_norm_backward(vsti_primitive **out, const vst_shape *shape, vsti_format format, double epsilon,
                                    bool batch) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    dnnl_memory_desc_t data = descriptor_of(shape, format);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL, hint = NULL;
    const unsigned flags = dnnl_use_scale | dnnl_use_shift | (batch ? 0 : dnnl_use_global_stats);
    dnnl_status_t created = dnnl_batch_normalization_forward_primitive_desc_create(
        &hint, engine, dnnl_forward_training, data, data, (float)epsilon, flags, NULL);
    if (created == dnnl_success)
        created = dnnl_batch_normalization_backward_primitive_desc_create(
            &descriptor, engine, dnnl_backward, data, data, data, (float)epsilon, flags, hint, attributes);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return finish(out, created, descriptor, "batch norm's backward pass", attributes, &data, 1);
}

/* ---- pooling -------------------------------------------------------------------------------------------------------
 */

typedef struct pool_descriptors {
    dnnl_memory_desc_t source, target;
    dnnl_alg_kind_t algorithm;
    dnnl_dims_t kernel, strides, dilations, left, right;
} pool_descriptors;

static pool_descriptors describe_pool(const vsti_pool *p, vsti_format source) {
    static const dnnl_alg_kind_t algorithms[] = {dnnl_pooling_max, dnnl_pooling_avg_exclude_padding,
                                                 dnnl_pooling_avg_include_padding};
    const vst_shape in = {4, {p->batch, p->channels, p->height, p->width}};
    const int64_t out[] = {p->batch, p->channels, p->out_height, p->out_width};
    return (pool_descriptors){.source = descriptor_of(&in, source),
                              .target = typed_descriptor(4, out, type_of(source.dtype), dnnl_format_tag_any),
                              .algorithm = algorithms[p->kind],
                              .kernel = {p->kernel, p->kernel},
                              .strides = {p->stride, p->stride},
                              .left = {p->padding, p->padding},
                              .right = {(p->out_height - 1) * p->stride + p->kernel - p->height - p->padding,
                                        (p->out_width - 1) * p->stride + p->kernel - p->width - p->padding}};
}

static dnnl_status_t describe_pool_forward(dnnl_primitive_desc_t *out, const pool_descriptors *d, bool training,
                                           dnnl_primitive_attr_t attributes) {
    return dnnl_pooling_forward_primitive_desc_create(
        out, engine, training ? dnnl_forward_training : dnnl_forward_inference, d->algorithm, d->source, d->target,
        d->strides, d->kernel, d->dilations, d->left, d->right, attributes);
}

vst_status vsti_pool_forward(vsti_primitive **out, const vsti_pool *p, vsti_format source) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    pool_descriptors d = describe_pool(p, source);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t created = describe_pool_forward(&descriptor, &d, p->training, attributes);
    return finish(out, created, descriptor, "pooling", attributes, &d.source, 2);
}

vst_status vsti_pool_backward(vsti_primitive **out, const vsti_pool *p, vsti_format source) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    pool_descriptors d = describe_pool(p, source);
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL, hint = NULL;
    dnnl_status_t created = describe_pool_forward(&hint, &d, true, NULL);
    if (created == dnnl_success)
        created = dnnl_pooling_backward_primitive_desc_create(
            &descriptor, engine, d.algorithm, d.source, dnnl_primitive_desc_query_md(hint, dnnl_query_dst_md, 0),
            d.strides, d.kernel, d.dilations, d.left, d.right, hint, attributes);
    if (hint) dnnl_primitive_desc_destroy(hint);
    return finish(out, created, descriptor, "pooling's backward pass", attributes, &d.source, 2);
}

/* ---- reorder -------------------------------------------------------------------------------------------------------
 */

/* The descriptor of one side of a reorder. A plain tensor gets the dimensions of the other side: grouped weights of a
 * convolution have one more dimension in oneDNN than in timm. */
static dnnl_memory_desc_t side(const vst_shape *shape, vsti_format format, vsti_layout other) {
    if (format.layout.kind == VSTI_LAYOUT_DESCRIBED || other.kind == VSTI_LAYOUT_PLAIN)
        return descriptor_of(shape, format);
    const blocks seen = query_blocks(other.descriptor->md);
    return plain_typed(seen.rank, *seen.dims, type_of(format.dtype));
}

vst_status vsti_reorder_create(vsti_primitive **out, const vst_shape *shape, vsti_format from, vsti_format to) {
    vst_status status = ready();
    if (status != VST_OK) return status;
    dnnl_memory_desc_t used[2] = {side(shape, from, to.layout), side(shape, to, from.layout)};
    dnnl_primitive_attr_t attributes = new_attributes();
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_status_t created =
        dnnl_reorder_primitive_desc_create(&descriptor, used[0], engine, used[1], engine, attributes);
    return finish(out, created, descriptor, "reorder", attributes, used, 2);
}

vst_status vsti_weights_reorder_create(vsti_primitive **out, const vsti_primitive *product, const int64_t *strides) {
    vst_status status = VST_OK;
    const_dnnl_memory_desc_t to = dnnl_primitive_desc_query_md(product->descriptor, dnnl_query_weights_md, 0);
    dnnl_memory_desc_t from = NULL;
    dnnl_primitive_desc_t descriptor = NULL;
    dnnl_dims_t *dims = NULL, grouped;
    int rank = 0;
    dnnl_memory_desc_query(to, dnnl_query_ndims_s32, &rank);
    dnnl_memory_desc_query(to, dnnl_query_dims, &dims);
    grouped[0] = (*dims)[1] * strides[0]; /* weights of one group */
    memcpy(grouped + 1, strides, (size_t)(rank - 1) * sizeof *strides);
    VST_TRY(failed(create_strided(&from, rank, *dims, rank == 5 ? grouped : strides, dnnl_s8), "layout"));
    dnnl_primitive_attr_t attributes = new_attributes();
    const dnnl_status_t created = dnnl_reorder_primitive_desc_create(&descriptor, from, engine, to, engine, attributes);
    status = finish(out, created, descriptor, "reorder of weights", attributes, &from, 1);
out:
    return status;
}

bool vsti_reorder_equal(const vsti_primitive *a, const vsti_primitive *b) {
    for (int i = 0; i < 2; i++) {
        const dnnl_query_t end = i ? dnnl_query_dst_md : dnnl_query_src_md;
        if (!dnnl_memory_desc_equal(dnnl_primitive_desc_query_md(a->descriptor, end, 0),
                                    dnnl_primitive_desc_query_md(b->descriptor, end, 0)))
            return false;
    }
    return true;
}
