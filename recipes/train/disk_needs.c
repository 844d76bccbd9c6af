/* Disk space of a training run: the best model, two checkpoints, one temporary file, logs. */
#include "recipes/train/disk_needs.h"

#include <string.h>

#include "recipes/model/model.h"
#include "recipes/train/run_folder.h"
#include "vision/optim/methods/method.h"

/* Logs of some hundred epochs, samples.png, the files' headers. */
static const uint64_t SMALL_FILES = 2000000;

static vst_status count_floats(const vst_model_config *config, uint64_t *all, uint64_t *trained) {
    vst_graph *graph = NULL;
    vst_params *params = NULL;
    const vst_status status = vst_model_declare(&graph, &params, config);
    *all = *trained = 0;
    for (size_t i = 0; status == VST_OK && i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const uint64_t count = (uint64_t)vst_shape_count(&info->shape);
        *all += count;
        if (info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY) *trained += count;
    }
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    return status;
}

/* Copies of the trained values in a checkpoint, besides the model: the values themselves, the optimiser's state, the
 * average, accumulated gradients. */
static uint64_t copies(const vst_optim_options *optim) {
    const vst_optimizer_method *method = vst_optimizer_method_find(vst_optim_name(optim));
    uint64_t count = 1 + (optim->ema_decay > 0) + (optim->accumulate > 1);
    for (int i = 0; i < VST_OPTIMIZER_STATES; i++) count += method->states[i] != NULL;
    return count;
}

static uint64_t count_written(const char *path) {
    static const char *const names[] = {"best.safetensors", "last.safetensors", "previous.safetensors"};
    const vsti_run_folder folder = {.path = (char *)path, .lock = -1}; /* only read */
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) bytes += vsti_run_folder_size(&folder, names[i]);
    return bytes;
}

vst_status vsti_train_disk_needs(const vst_recipe *recipe, const char *folder, uint64_t *bytes) {
    uint64_t floats, trained;
    const vst_status status = count_floats(recipe->model, &floats, &trained);
    const uint64_t model = 4 * floats, checkpoint = model + 4 * trained * copies(&recipe->optim);
    const uint64_t most = 2 * model + 2 * checkpoint + SMALL_FILES, written = count_written(folder);
    *bytes = most > written ? most - written : 0;
    return status;
}
