/* Writes best.safetensors and last.safetensors. */
#include "recipes/train/save.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "recipes/train/events.h"
#include "recipes/train/nonfinite.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* The JSON of a model file's "vistill.training"; free() it, as jansson's; NULL: out of memory. */
static char *training_json(const vsti_trainer *t) {
    const time_t now = time(NULL);
    struct tm utc;
    char date[32] = "";
    if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *object = json_object();
    json_object_set_new(object, "recipe", json_string(t->recipe->name));
    json_object_set_new(object, "data", json_string(t->recipe->data.path));
    json_object_set_new(object, "epochs", json_integer(t->progress.epoch));
    json_object_set_new(object, "seed", json_integer(t->recipe->run.seed));
    if (t->recipe->run.precision == VST_PRECISION_BF16) json_object_set_new(object, "precision", json_string("bf16"));
    json_object_set_new(object, "test_top1", number(t->progress.figures.test_top1));
    if (vsti_has_average(t))
        json_object_set_new(object, "weights", json_string(vsti_saves_average(t) ? "average" : "raw"));
    if (t->quantization.count) json_object_set_new(object, "quantization_aware", json_true());
    if (t->data.validation) json_object_set_new(object, "validation_top1", number(t->progress.figures.validation_top1));
    if (t->recipe->distill.teacher) json_object_set_new(object, "teacher", json_string(t->recipe->distill.teacher));
    json_object_set_new(object, "date", json_string(date));
    json_object_set_new(object, "program", json_string("vistill " VST_VERSION));
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(object);
    return text;
}

vst_status vsti_train_save(vsti_trainer *t, bool best) {
    vst_status status = vsti_check_state(t);
    if (status != VST_OK) return status;
    char path[VSTI_PATH], *training = training_json(t);
    const vst_model_content content = {.config = t->recipe->model,
                                       .params = t->student.params,
                                       .values = vsti_saves_average(t) ? vst_optimizer_ema(t->student.optimizer) : NULL,
                                       .class_names = t->data.classes.names,
                                       .class_count = t->student.classes,
                                       .training = training,
                                       .quantization = &t->quantization};
    if (!training) VST_TRY(vst_fail_memory(1024));
    if (best) {
        VST_TRY(vsti_run_folder_file(&t->folder, "best.safetensors", path));
        VST_TRY(vst_model_write(path, &content));
    }
    t->progress.finished = t->progress.epoch >= t->recipe->run.epochs;
    t->progress.log_bytes = vsti_run_folder_size(&t->folder, "log.txt");
    t->progress.summary_bytes = vsti_run_folder_size(&t->folder, "summary.csv");
    t->progress.steps_bytes = vsti_run_folder_size(&t->folder, VSTI_STEPS_FILE);
    t->progress.events_bytes = vsti_run_folder_size(&t->folder, VSTI_EVENTS_FILE);
    VST_TRY(vsti_checkpoint_write(&t->folder, &t->progress, &content, t->student.params, t->student.optimizer));
out:
    free(training);
    return status;
}
