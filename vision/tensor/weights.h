/* Named tensors from a file of any origin: safetensors, or a checkpoint that PyTorch saved (zip archives since 1.6, and
 * the older stream of pickles). The format is recognised by its first bytes, never by the file's name. No code of a
 * checkpoint is ever run: its pickle is read by an interpreter that knows tensors, containers and numbers; everything
 * else becomes an inert value whose name is listed. Nothing is trusted before it is checked. */
#ifndef VISTILL_VISION_TENSOR_WEIGHTS_H
#define VISTILL_VISION_TENSOR_WEIGHTS_H

#include "vision/tensor/tensor.h"

typedef struct vst_weights vst_weights;

/* Opens a file and finds the state dict in it. `entry` names the dictionary to take from a PyTorch checkpoint
 * ("model_ema"); NULL: the first of "state_dict_ema", "model_ema", "state_dict", "model" that is a dict (timm's order),
 * else the whole. What is no tensor in it is passed over. The prefixes "module." and "_orig_mod." are taken off when
 * all names have them. Files of up to 16 GiB; of a PyTorch checkpoint only the storages that are used are read. On
 * failure *out is NULL; the message names the file, the offset or the tensor, and what would mend it (which entries
 * there are). VST_ERROR_NOT_FOUND also for an entry that is not there, VST_ERROR_ARGUMENT for one of a safetensors
 * file, which has none. */
VST_NODISCARD vst_status vst_weights_open(vst_weights **out, const char *path, const char *entry);
/* The same from memory; the bytes are copied. `name` stands for the path in messages. */
VST_NODISCARD vst_status vst_weights_parse(vst_weights **out, const char *name, const void *bytes, size_t size,
                                           const char *entry);
void vst_weights_close(vst_weights *weights);

const char *vst_weights_path(const vst_weights *weights);   /* as it was opened; owned by weights */
const char *vst_weights_format(const vst_weights *weights); /* "safetensors", "PyTorch" or "PyTorch before 1.6" */
const char *vst_weights_entry(const vst_weights *weights);  /* the dictionary that was taken; NULL: the whole */

/* Tensors in the file's order, dense and row-major (strided and shared storages are gathered); views into `weights`. */
size_t vst_weights_count(const vst_weights *weights);
const vst_tensor *vst_weights_at(const vst_weights *weights, size_t index);
const vst_tensor *vst_weights_find(const vst_weights *weights, const char *name); /* NULL if absent */

/* What was passed over: Python classes and functions of the pickle that have no meaning here ("argparse.Namespace"),
 * each once, in order of appearance; index < vst_weights_skipped_count. */
size_t vst_weights_skipped_count(const vst_weights *weights);
const char *vst_weights_skipped_at(const vst_weights *weights, size_t index);

/* A value of a safetensors file's __metadata__, NULL if absent or another format. */
const char *vst_weights_metadata(const vst_weights *weights, const char *key);

#endif
