/* Shapes, data types and plain tensors (row-major, innermost dimension last, as in PyTorch). */
#ifndef VISTILL_VISION_TENSOR_TENSOR_H
#define VISTILL_VISION_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
#include <initializer_list>
#endif

#include "vision/base/option.h"
#include "vision/base/status.h"

VST_BEGIN_DECLS

enum { VST_MAX_RANK = 6, VST_SHAPE_TEXT = 96 };

typedef struct vst_shape {
    int rank; /* 0: a scalar */
    int64_t dim[VST_MAX_RANK];
} vst_shape;

/* VST_SHAPE(2, 3) is the shape (2, 3); VST_SCALAR is the shape of a scalar. */
#ifdef __cplusplus
#define VST_SHAPE(...) (vst_shape{(int)std::initializer_list<int64_t>{__VA_ARGS__}.size(), {__VA_ARGS__}})
#define VST_SCALAR (vst_shape{0, {0}})
#else
#define VST_SHAPE(...) ((vst_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
#define VST_SCALAR ((vst_shape){0, {0}})
#endif

bool vst_shape_equal(const vst_shape *a, const vst_shape *b);
int64_t vst_shape_count(const vst_shape *shape); /* product of the dimensions; -1 on overflow or a negative dimension */
/* Writes "(2, 3, 224, 224)" into text and returns it. */
const char *vst_shape_text(const vst_shape *shape, char text[VST_SHAPE_TEXT]);

/* X(constant, name as safetensors writes it, bytes of one element) */
#define VST_DTYPES(X)      \
    X(VST_F64, "F64", 8)   \
    X(VST_F32, "F32", 4)   \
    X(VST_F16, "F16", 2)   \
    X(VST_BF16, "BF16", 2) \
    X(VST_I64, "I64", 8)   \
    X(VST_I32, "I32", 4)   \
    X(VST_I16, "I16", 2)   \
    X(VST_I8, "I8", 1)     \
    X(VST_U64, "U64", 8)   \
    X(VST_U32, "U32", 4)   \
    X(VST_U16, "U16", 2)   \
    X(VST_U8, "U8", 1)     \
    X(VST_BOOL, "BOOL", 1)
typedef enum vst_dtype { VST_CHOICE_ENUM(VST_DTYPES) } vst_dtype;

size_t vst_dtype_size(vst_dtype dtype);      /* bytes of one element */
const char *vst_dtype_name(vst_dtype dtype); /* safetensors' name, such as "F32" */

/* A view of memory that it does not own: the function that returns a tensor documents the owner of `data`. */
typedef struct vst_tensor {
    const char *name; /* may be NULL */
    vst_dtype dtype;
    vst_shape shape;
    void *data; /* may be unaligned if it was read from a file */
} vst_tensor;

/* Converts `count` elements of type `dtype` (any) to float. `data` may be unaligned. F64 and large integers are
 * rounded. */
void vst_to_float(float *out, const void *data, vst_dtype dtype, size_t count);
/* Converts `count` floats to F16, rounded to nearest, ties to even; values out of range become infinite. `out` may be
 * unaligned. */
void vst_to_half(void *out, const float *values, size_t count);

VST_END_DECLS
#endif
