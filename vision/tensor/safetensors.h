/* Reading and writing safetensors files (https://github.com/huggingface/safetensors), little-endian hosts.
 * Reading checks everything that the reference reader checks, and in addition: nesting, name length, control characters
 * in names, rank, tensor count, header size, duplicate keys, integers only. Nothing is trusted before it is checked;
 * offsets are multiplied and added with overflow checks. */
#ifndef VISTILL_VISION_TENSOR_SAFETENSORS_H
#define VISTILL_VISION_TENSOR_SAFETENSORS_H

#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

typedef struct vst_safetensors vst_safetensors; /* an open file: its header and all its data, in memory */

typedef struct vst_safetensors_limits {
    size_t header_bytes; /* default 16 MiB (the format's own limit is 100 MB) */
    size_t file_bytes;   /* default 16 GiB */
    size_t tensors;      /* default 100,000 */
    size_t name_bytes;   /* default 1024 */
} vst_safetensors_limits;
extern const vst_safetensors_limits vst_safetensors_default_limits;

/* Opens and checks a file. limits may be NULL. On failure *out is NULL, the message names file, tensor and offset. */
VST_NODISCARD vst_status vst_safetensors_open(vst_safetensors **out, const char *path,
                                              const vst_safetensors_limits *limits);
/* The same from memory; the bytes are copied. `name` stands for the path in messages. */
VST_NODISCARD vst_status vst_safetensors_parse(vst_safetensors **out, const char *name, const void *bytes, size_t size,
                                               const vst_safetensors_limits *limits);
void vst_safetensors_close(vst_safetensors *file);

const char *vst_safetensors_path(const vst_safetensors *file); /* the path or name it was opened with; owned by file */

/* Tensors in order of their offsets; views into `file`, valid until it is closed. */
size_t vst_safetensors_count(const vst_safetensors *file);
const vst_tensor *vst_safetensors_at(const vst_safetensors *file, size_t index);
const vst_tensor *vst_safetensors_find(const vst_safetensors *file, const char *name); /* NULL if absent */
/* A value of __metadata__, NULL if absent; owned by file. */
const char *vst_safetensors_metadata(const vst_safetensors *file, const char *key);

typedef struct vst_metadata {
    const char *key, *value;
} vst_metadata;

/* Writes atomically: a temporary file beside `path`, fsync, rename, fsync of the folder. Tensors are laid out as the
 * reference writer does (dtype alignment descending, then name), the header padded to 8 bytes. A key "vistill.xxh3"
 * with the XXH3-64 of the data (16 hex digits) is added to the metadata, and vst_safetensors_open checks it when
 * present. On failure nothing is left behind and an existing file stays as it was. */
VST_NODISCARD vst_status vst_safetensors_write(const char *path, const vst_tensor *tensors, size_t tensor_count,
                                               const vst_metadata *metadata, size_t metadata_count);

VST_END_DECLS
#endif
