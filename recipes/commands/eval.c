/* vistill eval: a model's accuracy on a data set. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/infer/confusion.h"
#include "recipes/infer/latency.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/model/classes.h"
#include "recipes/model/model.h"

/* The most frequent wrong prediction of a label; NULL: none. */
static const vst_confusion_cell *most_wrong(const vst_confusion *confusion, int label) {
    const vst_confusion_cell *found = NULL;
    for (size_t i = confusion->rows[label]; i < confusion->rows[label + 1]; i++) {
        const vst_confusion_cell *cell = &confusion->cells[i];
        if (cell->prediction != label && (!found || cell->count > found->count)) found = cell;
    }
    return found;
}

/* The classes of the data; the model may have more. */
static vst_status print_confusion(const vst_evaluation *e, const vst_model *model, const vst_class_match *match) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    vst_confusion confusion = {0};
    VST_TRY(vst_confusion_create(&confusion, e));
    VST_TRY(vst_table_create(&table, (const char *[]){"class", ">samples", ">right %", "most often taken for", NULL}));
    for (int i = 0; i < match->from; i++) {
        const int label = match->map[i];
        const uint64_t samples = vst_confusion_samples(&confusion, label);
        const double right = (double)vst_confusion_right(&confusion, label);
        const vst_confusion_cell *wrong = most_wrong(&confusion, label);
        vst_table_cell(table, "%s", model->class_names[label]);
        vst_table_cell(table, "%llu", (unsigned long long)samples);
        if (samples) vst_table_cell(table, "%.2f", 100 * right / (double)samples);
        else vst_table_cell(table, "-");
        if (wrong)
            vst_table_cell(table, "%s (%llu)", model->class_names[wrong->prediction], (unsigned long long)wrong->count);
        else vst_table_cell(table, "-");
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    vst_confusion_clear(&confusion);
    return status;
}

static vst_status print_json(const vst_evaluation *e, const vst_class_match *match, uint64_t broken, double latency) {
    json_t *object = json_object();
    json_object_set_new(object, "classes", json_integer(match->to));
    json_object_set_new(object, "data_classes", json_integer(match->from));
    json_object_set_new(object, "classes_by", json_string(match->by_position ? "position" : "name"));
    json_object_set_new(object, "samples", json_integer((json_int_t)e->samples));
    json_object_set_new(object, "broken", json_integer((json_int_t)broken));
    json_object_set_new(object, "loss", isfinite(e->loss) ? json_real(e->loss) : json_null());
    json_object_set_new(object, "top1", isfinite(e->top1) ? json_real(e->top1) : json_null());
    json_object_set_new(object, "top5", isfinite(e->top5) ? json_real(e->top5) : json_null());
    json_object_set_new(object, "ms_per_image", json_real(latency));
    return vst_json_print(object);
}

static vst_status print_text(const vst_evaluation *e, const vst_model *model, const vst_class_match *match,
                             uint64_t broken, double latency) {
    printf("samples  %llu\n", (unsigned long long)e->samples);
    if (broken) printf("broken   %llu, not counted\n", (unsigned long long)broken);
    printf("loss     %.4f\ntop-1    %.2f %%\n", e->loss, e->top1);
    if (!isnan(e->top5)) printf("top-5    %.2f %%\n", e->top5);
    printf("latency  %.2f ms for one image on one core\n\n", latency);
    return print_confusion(e, model, match);
}

static vst_status read_policy(const char *word, vst_broken_policy *policy) {
    static const char *const names[] = {VST_CHOICE_NAMES(VST_BROKEN_POLICIES)};
    *policy = VST_BROKEN_ERROR;
    if (!word) return VST_OK;
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, names[i]) != 0) continue;
        *policy = (vst_broken_policy)i;
        return VST_OK;
    }
    return vst_fail(VST_ERROR_ARGUMENT, "--broken %s: it must be error, warn or skip", word);
}

static const char memory_advice[] = "a smaller --batch or --workers";

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_model *model = NULL;
    vst_dataset *dataset = NULL, *view = NULL;
    vst_class_match match = {0};
    vst_loader *loader = NULL;
    vst_session *session = NULL;
    vst_evaluation evaluation = {0};
    vst_latency latency;
    vst_session_options options = {0};
    int batch = 256, workers = 1;
    vst_broken_rule broken = {.limit = 0.01};
    const char *split = vst_flag_value(arguments, "split");
    VST_TRY(vst_flag_bf16(arguments, &options.bf16));
    VST_TRY(vst_flag_int(arguments, "batch", 1, 65536, &batch));
    VST_TRY(vst_flag_int(arguments, "workers", 0, 256, &workers));
    VST_TRY(read_policy(vst_flag_value(arguments, "broken"), &broken.policy));
    VST_TRY(vst_model_read(&model, arguments->words[0]));
    const vst_dataset_options data = {.format = vst_flag_value(arguments, "format"),
                                      .channels = vst_model_common_of(model->config)->channels == 1 ? 1 : 3};
    VST_TRY(vst_dataset_open(&dataset, arguments->words[1], split ? split : "test", &data));
    const vst_classes from = vst_dataset_class_list(dataset), to = vst_model_classes(model, arguments->words[0]);
    VST_TRY(vst_classes_view(&view, dataset, &to, &match));
    vst_class_match_log(&match, &from, &to);
    VST_TRY(vst_evaluation_loader(&loader, view ? view : dataset, model->config, batch, workers, &broken));
    VST_TRY(vst_session_create_model(&session, model, &options));
    VST_TRY(vst_evaluation_check_memory(session, loader, vst_dataset_count(dataset), batch, memory_advice));
    VST_TRY(vst_evaluate(session, loader, vst_dataset_count(dataset), false,
                         vst_catch_interrupt(VST_STOPPING("after this batch"), VST_ENDED("nothing was measured")),
                         &evaluation));
    VST_TRY(vst_model_latency(model, options.bf16, &latency));
    if (vst_flag_given(arguments, "json"))
        VST_TRY(print_json(&evaluation, &match, vst_loader_broken(loader), latency.median));
    else VST_TRY(print_text(&evaluation, model, &match, vst_loader_broken(loader), latency.median));
out:
    if (status == VST_ERROR_MEMORY) status = vst_fail_in(status, "%s takes less memory", memory_advice);
    vst_evaluation_clear(&evaluation);
    vst_session_close(session);
    vst_loader_destroy(loader);
    vst_class_match_clear(&match);
    vst_dataset_close(view);
    vst_dataset_close(dataset);
    vst_model_destroy(model);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"split", 0, "SPLIT", "train or test, the default"},
    {"format", 0, "FORMAT", "the data set's format, if it is not recognised"},
    {"batch", 0, "N", "batch size, 256 by default"},
    {"workers", 0, "N", "number of threads that load images, 1 by default"},
    {"broken", 0, "POLICY", "images that cannot be read: error (the default), warn or skip, up to 1 % of them"},
    VST_PRECISION_FLAG,
    {"json", 0, NULL, "print one JSON object"},
    {0}};

extern const vst_command vsti_command_eval;
const vst_command vsti_command_eval = {
    .name = "eval",
    .words = "MODEL DATA",
    .summary = "measure a model's accuracy on a data set",
    .help =
        "Images are resized and cropped with the model's crop_pct and interpolation, as in timm.\n"
        "Prints loss, top-1, top-5, the latency of one image on one core, and for each class its accuracy and the\n"
        "most frequent confusion. Classes are matched by name; if DATA has only some of the model's classes, scores "
        "are\n"
        "still over all classes of the model. WordNet ids (n01440764) are recognised as ImageNet's classes.",
    .flags = flags,
    .minimum = 2,
    .maximum = 2,
    .run = run};
