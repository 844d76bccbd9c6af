/* Measures the accuracy of the teachers before training, and checks whether their images are normalised as they expect.
 */
#include "recipes/train/teachers_measure.h"

#include <math.h>

#include "recipes/infer/evaluate.h"
#include "recipes/infer/preprocessing.h"
#include "vision/base/log.h"

enum { MEASURED = 2000 }; /* samples, without a validation split */

/* With the normalisation of its training, a model's input has a mean of about 0 and a standard deviation of about 1. */
static void check_normalisation(const vsti_teacher *teacher, const vst_batch *batch) {
    const vst_model_common *common = vst_model_common_of(teacher->config);
    const size_t pixels = (size_t)common->image * (size_t)common->image;
    double sum = 0, squares = 0;
    for (int i = 0; i < batch->count * common->channels; i++) {
        const float *plane = batch->images + (size_t)i * pixels;
        double mean, std;
        vst_model_normalization(teacher->config, i % common->channels, &mean, &std);
        for (size_t k = 0; k < pixels; k++) {
            const double x = (plane[k] - mean) / std;
            sum += x;
            squares += x * x;
        }
    }
    const double count = (double)batch->count * common->channels * (double)pixels;
    const double mean = sum / count, deviation = sqrt(fmax(0, squares / count - mean * mean));
    if (fabs(mean) < 1 && deviation > 0.4 && deviation < 2.5) return;
    vst_log(VST_LOG_WARNING,
            "%s: its normalised images have mean %.2f and deviation %.2f, and models are mostly trained with 0 and 1: "
            "was it trained with the mean and std that its file says? `vistill info` shows them, `vistill import --set "
            "mean=…,std=…` "
            "sets them",
            teacher->name, mean, deviation);
}

static vst_status check_input(const vsti_teacher *teacher, vst_loader *loader) {
    vst_batch batch;
    vst_status status = vst_loader_start(loader, 0, 0);
    if (status == VST_OK) status = vst_loader_next(loader, &batch);
    if (status == VST_OK) check_normalisation(teacher, &batch);
    return status;
}

static vst_status measure(vsti_teacher *teacher, const vst_recipe *r, const vsti_train_data *data,
                          const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    vst_dataset *view = NULL, *in_classes = NULL; /* some samples, with the teacher's class numbers */
    vst_loader *loader = NULL;
    vst_session *session = NULL;
    vst_evaluation evaluation = {0};
    const vst_model_config *model = teacher->config;
    const vst_dataset *dataset = data->validation;
    const uint64_t all = vst_dataset_count(data->source);
    const vst_broken_rule broken = vsti_recipe_broken(r);
    const vst_classes own = vst_model_classes(teacher->model, teacher->name);
    if (!teacher->classes.map) return VST_OK;                  /* of other classes: features alone */
    if (vst_dataset_classes(data->source) == 0) return VST_OK; /* no labels to measure by */
    if (!dataset) {
        VST_TRY(vst_dataset_sample(data->source, all < MEASURED ? all : MEASURED, (uint64_t)r->run.seed, &view));
        dataset = view;
    }
    if (!teacher->classes.same) {
        VST_TRY(vst_dataset_relabel(dataset, teacher->classes.map, own.names, own.count, &in_classes));
        dataset = in_classes;
    }
    VST_TRY(vst_evaluation_loader(&loader, dataset, model, r->run.eval_batch, r->data.workers, &broken));
    VST_TRY(check_input(teacher, loader));
    VST_TRY(vst_session_create_model(&session, teacher->model, NULL));
    VST_TRY(vst_evaluation_check_memory(session, loader, vst_dataset_count(dataset), r->run.eval_batch,
                                        VSTI_MEMORY_ADVICE));
    VST_TRY(vst_evaluate(session, loader, vst_dataset_count(dataset), false, stop, &evaluation));
    teacher->top1 = evaluation.top1;
out:
    vst_evaluation_clear(&evaluation);
    vst_session_close(session);
    vst_loader_destroy(loader);
    vst_dataset_close(in_classes);
    vst_dataset_close(view);
    return status;
}

vst_status vsti_teachers_measure(vsti_teachers *teachers, const vst_recipe *recipe, const vsti_train_data *data,
                                 const volatile sig_atomic_t *stop) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (!teacher->model || teacher->cached) continue; /* its accuracy is stored in the cache */
        const vst_status status = measure(teacher, recipe, data, stop);
        if (status != VST_OK) return vst_fail_in(status, "%s", teacher->name);
    }
    return VST_OK;
}
