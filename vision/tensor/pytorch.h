/* Internal: reads files written by torch.save (zip archives since PyTorch 1.6 and the older stream of pickles) as
 * values and tensors. weights.c selects the weights among the values. Little-endian hosts only. One file may be used by
 * one thread at a time. */
#ifndef VISTILL_VISION_TENSOR_PYTORCH_H
#define VISTILL_VISION_TENSOR_PYTORCH_H

#include "vision/tensor/pickle.h"
#include "vision/tensor/source.h"
#include "vision/tensor/tensor.h"

enum {
    VSTI_ACCUMULATE_ROOM = 64 << 20
}; /* bytes for copies of tensors that are not dense, in addition to the file's size */

typedef struct vsti_pytorch vsti_pytorch;

/* Checks the container and reads its pickle; storages are read on demand. `from` must stay valid until
 * vsti_pytorch_release. `zip`: the newer format. On failure *out is NULL. */
VST_NODISCARD vst_status vsti_pytorch_open(vsti_pytorch **out, const vsti_source *from, bool zip);
/* Frees everything but the tensors' data: pickle, values, names, archive, and storages that no tensor uses. */
void vsti_pytorch_release(vsti_pytorch *file);
void vsti_pytorch_close(vsti_pytorch *file);

/* The saved object; valid until vsti_pytorch_release. */
const vsti_pickled *vsti_pytorch_root(const vsti_pytorch *file);
/* Name `index` of the classes and functions that were ignored; NULL after the last. Valid until
 * vsti_pytorch_release. */
const char *vsti_pytorch_skipped(const vsti_pytorch *file, size_t index);

/* True if the value is a tensor, supported or not. Reads no data. */
bool vsti_pytorch_is_tensor(const vsti_pickled *value);
/* Converts `value` to a tensor, dense and row-major, without a name; `file` owns its data. Dense tensors with the same
 * storage share the data. *is_tensor is false if `value` is not a tensor. */
VST_NODISCARD vst_status vsti_pytorch_tensor(vsti_pytorch *file, const vsti_pickled *value, bool *is_tensor,
                                             vst_tensor *out);

#endif
