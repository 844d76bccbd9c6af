/* Reading and writing safetensors files (https://github.com/huggingface/safetensors), little-endian hosts. The reader
 * makes all checks of the reference reader and in addition limits nesting, name length, rank, tensor count and header
 * size, and refuses control characters in names, duplicate keys and numbers that are not integers. Files are untrusted
 * input: all arithmetic on sizes and offsets is checked for overflow. */
#ifndef VISTILL_VISION_TENSOR_SAFETENSORS_H
#define VISTILL_VISION_TENSOR_SAFETENSORS_H

#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

typedef struct vst_safetensors vst_safetensors; /* an open file; header and data are in memory */

typedef struct vst_safetensors_limits {
    size_t header_bytes; /* default 16 MiB (the format's own limit is 100 MB) */
    size_t file_bytes;   /* default 16 GiB */
    size_t tensors;      /* default 100,000 */
    size_t name_bytes;   /* default 1024 */
} vst_safetensors_limits;
extern const vst_safetensors_limits vst_safetensors_default_limits;

/* Opens and checks a file. `limits` may be NULL (the defaults). On failure *out is NULL and the message names file,
 * tensor and offset. */
VST_NODISCARD vst_status vst_safetensors_open(vst_safetensors **out, const char *path,
                                              const vst_safetensors_limits *limits);
/* Parses a file in memory; the bytes are copied. Messages use `name` in place of the path. */
VST_NODISCARD vst_status vst_safetensors_parse(vst_safetensors **out, const char *name, const void *bytes, size_t size,
                                               const vst_safetensors_limits *limits);
void vst_safetensors_close(vst_safetensors *file);

const char *vst_safetensors_path(const vst_safetensors *file); /* the path or name given on opening; owned by `file` */

/* The tensors in order of their offsets: views into `file`, valid until it is closed. */
size_t vst_safetensors_count(const vst_safetensors *file);
const vst_tensor *vst_safetensors_at(const vst_safetensors *file, size_t index);
const vst_tensor *vst_safetensors_find(const vst_safetensors *file, const char *name); /* NULL if absent */
/* A value of __metadata__, owned by `file`. NULL if absent. */
const char *vst_safetensors_metadata(const vst_safetensors *file, const char *key);

typedef struct vst_metadata {
    const char *key, *value;
} vst_metadata;

/* Writes a file atomically: a temporary file beside `path`, fsync, rename, fsync of the folder. Tensors are in the
 * order of the reference writer (dtype alignment descending, then name), and the header is padded to 8 bytes. The
 * metadata key "vistill.xxh3" is added: "all:" and the XXH3-64 of the whole file in 16 hex digits, with zeros in place
 * of these digits. vst_safetensors_open verifies it; a file that has other keys "vistill.…" must have it. Files of
 * version 0.1.0 have the XXH3-64 of the data alone, without "all:". On failure the temporary file is removed and an
 * existing file is unchanged. */
VST_NODISCARD vst_status vst_safetensors_write(const char *path, const vst_tensor *tensors, size_t tensor_count,
                                               const vst_metadata *metadata, size_t metadata_count);

VST_END_DECLS
#endif
