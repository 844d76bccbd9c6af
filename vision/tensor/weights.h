/* Reads named tensors from a safetensors file or a PyTorch checkpoint (zip archives since 1.6 and the older stream of
 * pickles). The format is detected from the first bytes, not from the file name. Code in a checkpoint is never
 * executed: the pickle reader supports tensors, containers and numbers only; every other object becomes an inert value
 * whose class name is listed. Files are untrusted input. */
#ifndef VISTILL_VISION_TENSOR_WEIGHTS_H
#define VISTILL_VISION_TENSOR_WEIGHTS_H

#include "vision/tensor/tensor.h"

typedef struct vst_weights vst_weights;

/* Opens a file and finds its state dict. `entry` selects a dictionary of a PyTorch checkpoint ("model_ema", or
 * "ema.module" for one within another), or the tensors whose names begin with it and a dot ("student"), in any format.
 * NULL: the first of the entries that training programs use, averages first (state_dict_ema, model_ema, … state_dict,
 * model …), or the only dictionary that holds more tensors than lie beside it, or the whole object; several such
 * dictionaries are VST_ERROR_ARGUMENT. Entries that are not tensors are ignored. Parts of names that torch.compile and
 * fully sharded data parallel insert are removed. Files may have up to 16 GiB; of a PyTorch checkpoint only the
 * storages in use are read. On failure *out is NULL; the message names the file, the offset or the tensor, and a remedy
 * (such as the available entries). A missing entry is VST_ERROR_NOT_FOUND. */
VST_NODISCARD vst_status vst_weights_open(vst_weights **out, const char *path, const char *entry);
/* Parses a file in memory; the bytes are copied. Messages use `name` in place of the path. */
VST_NODISCARD vst_status vst_weights_parse(vst_weights **out, const char *name, const void *bytes, size_t size,
                                           const char *entry);
void vst_weights_close(vst_weights *weights);

const char *vst_weights_path(const vst_weights *weights);   /* as given on opening; owned by `weights` */
const char *vst_weights_format(const vst_weights *weights); /* "safetensors", "PyTorch" or "PyTorch before 1.6" */
const char *vst_weights_entry(const vst_weights *weights);  /* what was selected; NULL: the whole object */

/* The tensors in file order, dense and row-major (strided tensors are copied): views owned by `weights`. */
size_t vst_weights_count(const vst_weights *weights);
const vst_tensor *vst_weights_at(const vst_weights *weights, size_t index);
const vst_tensor *vst_weights_find(const vst_weights *weights, const char *name); /* NULL if absent */

/* Python classes and functions of the pickle that were ignored ("argparse.Namespace"), each once, in order of
 * appearance; index < vst_weights_skipped_count. */
size_t vst_weights_skipped_count(const vst_weights *weights);
const char *vst_weights_skipped_at(const vst_weights *weights, size_t index);

/* A value of a safetensors file's __metadata__. NULL if absent or if the format is PyTorch. */
const char *vst_weights_metadata(const vst_weights *weights, const char *key);

#endif
