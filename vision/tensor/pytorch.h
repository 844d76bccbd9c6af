/* Files that torch.save wrote, as values and tensors: zip archives (since PyTorch 1.6) and the older stream of pickles.
 * Which of the values are the weights is for weights.c to say. Little-endian hosts. Not thread-safe within one file. */
#ifndef VISTILL_VISION_TENSOR_PYTORCH_H
#define VISTILL_VISION_TENSOR_PYTORCH_H

#include "vision/tensor/pickle.h"
#include "vision/tensor/source.h"
#include "vision/tensor/tensor.h"

enum { VSTI_ACCUMULATE_ROOM = 64 << 20 }; /* bytes of tensors that are not dense, beyond the file's own size */

typedef struct vsti_pytorch vsti_pytorch;

/* Checks the container and reads its pickle; storages are read when a tensor asks for them. `from` must stay as it is
 * until vsti_pytorch_release. zip: the newer form. On failure *out is NULL. */
VST_NODISCARD vst_status vsti_pytorch_open(vsti_pytorch **out, const vsti_source *from, bool zip);
/* Gives back all but the tensors' data: pickle, values, names, archive, and storages that no tensor points into. */
void vsti_pytorch_release(vsti_pytorch *file);
void vsti_pytorch_close(vsti_pytorch *file);

/* What was saved; valid until vsti_pytorch_release. */
const vsti_pickled *vsti_pytorch_root(const vsti_pytorch *file);
/* The index-th name that the pickle asked for and that has no meaning here, NULL after the last; until release. */
const char *vsti_pytorch_skipped(const vsti_pytorch *file, size_t index);

/* The tensor that `value` stands for, dense and row-major, without a name; its data belong to `file`. Tensors that
 * share a storage and are dense share the data. *is_tensor false: it stands for something else. */
VST_NODISCARD vst_status vsti_pytorch_tensor(vsti_pytorch *file, const vsti_pickled *value, bool *is_tensor,
                                             vst_tensor *out);

#endif
