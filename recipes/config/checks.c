/* What no single key of a recipe can check: keys that must fit each other. */
#include <ctype.h>
#include <string.h>

#include "datasets/augment/augment.h"
#include "recipes/config/recipe.h"
#include "vision/base/memory.h"
#include "vision/plan/program.h"

int vst_teacher_count(const vst_recipe *recipe) {
    const char *list = recipe->distill.teacher;
    int count = list && *list;
    for (; list && *list; list++) count += *list == ',';
    return count;
}

/* The index-th of texts with commas between, without blanks around it; "" if there are fewer. */
static char *item_of(const char *list, int index) {
    const char *from = list ? list : "";
    for (; index > 0 && from; index--) from = strchr(from, ',') ? strchr(from, ',') + 1 : NULL;
    if (!from) return vst_strdup("");
    while (isspace((unsigned char)*from)) from++;
    size_t length = strcspn(from, ",");
    while (length && isspace((unsigned char)from[length - 1])) length--;
    return vst_format("%.*s", (int)length, from);
}

char *vst_teacher_path(const vst_recipe *recipe, int index) {
    VST_ASSERT(index >= 0 && index < vst_teacher_count(recipe));
    return item_of(recipe->distill.teacher, index);
}

char *vst_teacher_entry(const vst_recipe *recipe, int index) { return item_of(recipe->distill.teacher_entry, index); }

char *vst_teacher_model(const vst_recipe *recipe, int index) { return item_of(recipe->distill.teacher_model, index); }

/* Is there who the term would learn from? */
static vst_status check_source(const vst_recipe *recipe, int index) {
    const vst_term_options *term = &recipe->terms[index];
    const int source = vst_term_source(term);
    if (source == VST_FROM_NOWHERE)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.terms.%d.from = '%s': expected teacher, a number from 1 to %d, student or ema", index,
                        term->from, VST_MAX_TEACHERS);
    if (source >= vst_teacher_count(recipe))
        return vst_fail(VST_ERROR_ARGUMENT,
                        source == 0 ? "distill.terms need a teacher: set distill.teacher to its model file, or "
                                      "remove them (distill.terms.%d is the first)"
                                    : "distill.terms.%d.from: distill.teacher names fewer teachers",
                        index);
    if (source == VST_FROM_AVERAGE && recipe->optim.ema_decay <= 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.terms.%d.from = ema: the student has no moving average; set optim.ema_decay, "
                        "0.99 in a short run",
                        index);
    return VST_OK;
}

static vst_status check_term(const vst_recipe *recipe, int index) {
    const vst_term_options *term = &recipe->terms[index];
    const char *missing = !term->distance ? "distance" : !term->student ? "student" : !term->teacher ? "teacher" : NULL;
    if (missing) return vst_fail(VST_ERROR_ARGUMENT, "distill.terms.%d.%s is missing", index, missing);
    const double end = term->end > 0 ? term->end : recipe->run.epochs;
    if (term->begin >= end)
        return vst_fail(VST_ERROR_ARGUMENT, "distill.terms.%d.begin = %g is not before its end, epoch %g", index,
                        term->begin, end);
    return check_source(recipe, index);
}

bool vst_recipe_cached(const vst_recipe *recipe) { return recipe->distill.cache && *recipe->distill.cache; }

/* Only teachers that are files can be cached. */
static vst_status check_cache(const vst_recipe *recipe) {
    if (!vst_recipe_cached(recipe)) return VST_OK;
    if (recipe->distill.teacher_precision != VST_PRECISION_F32)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.teacher_precision = bf16, but distill.cache holds answers that were computed in f32: "
                        "remove one of them");
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_source(&recipe->terms[i]) >= 0) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "distill.cache is set, but no term learns from a teacher's file: remove it");
}

static vst_status check_distill(const vst_recipe *recipe) {
    const vst_distill_options *distill = &recipe->distill;
    vst_status status = VST_OK;
    double weights = distill->label_weight;
    if (distill->teacher && recipe->term_count == 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.teacher is set but there are no distill.terms, so nothing would be distilled: "
                        "add a term, or remove the teacher");
    for (int i = 0; i < recipe->term_count; i++) {
        VST_TRY(check_term(recipe, i));
        weights += recipe->terms[i].weight;
    }
    if (recipe->term_count && weights <= 0)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "distill.label_weight and the weights of all distill.terms are 0: nothing would be "
                         "learnt"));
    VST_TRY(check_cache(recipe));
    if (recipe->data.labelled > 0 && !recipe->term_count)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "data.labelled = %d needs a teacher for the samples without labels: use data.limit to "
                         "train on fewer samples",
                         recipe->data.labelled));
out:
    return status;
}

vst_mix_options vst_recipe_mix(const vst_recipe *recipe) {
    const vst_augment_options *o = &recipe->augment;
    vst_mix_options mix = {.mixup = o->mixup,
                           .cutmix = o->cutmix,
                           .probability = o->mixup_prob,
                           .switch_probability = o->mixup_switch_prob,
                           .mode = (vst_mix_mode)o->mixup_mode};
    if (o->cutmix_minmax.count == 2) {
        mix.minimum = o->cutmix_minmax.value[0];
        mix.maximum = o->cutmix_minmax.value[1];
    }
    return mix;
}

static vst_status check_mixing(const vst_recipe *recipe) {
    const vst_augment_options *o = &recipe->augment;
    const vst_option_list *box = &o->cutmix_minmax;
    const vst_mix_options mix = vst_recipe_mix(recipe);
    if (box->count && (box->count != 2 || box->value[0] >= box->value[1]))
        return vst_fail(
            VST_ERROR_ARGUMENT,
            "augment.cutmix_minmax: expected two shares of the image's side, the smaller one first, such as "
            "[0.2, 0.8]");
    if (!vst_mix_enabled(&mix)) return VST_OK;
    if (recipe->optim.batch % 2)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.batch = %d is odd, but augment.mixup and augment.cutmix pair the images of a batch",
                        recipe->optim.batch);
    if (o->views)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augment.views = %d: views cannot repeat where augment.mixup or augment.cutmix make "
                        "them anew in each batch: set views to 0, or both of these",
                        o->views);
    return VST_OK;
}

/* The list is built once more by the training; here only to refuse it before any data is read. */
static vst_status check_augment(const vst_recipe *recipe) {
    const vst_augment_options *options = &recipe->augment;
    vst_augment *augment = NULL;
    vst_status status = check_mixing(recipe);
    if (status != VST_OK) return status;
    if (options->views && options->repeats > 1)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augment.views = %d and augment.repeats = %d: repeated images are new views: set one of "
                        "them to its default, 0 and 1",
                        options->views, options->repeats);
    status = vst_augment_create(&augment, options->train ? options->train : "");
    vst_augment_destroy(augment);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "augment.train");
}

/* What optimiser and schedule say to their options. */
static vst_status check_optimizer(const vst_recipe *recipe) {
    const vst_optim_options *o = &recipe->optim;
    const vst_optimizer_options options = vst_recipe_optimizer(recipe);
    vst_schedule schedule = {0};
    vst_status status = vst_optimizer_check(&options);
    if (status != VST_OK) return vst_fail_in(status, "optim");
    status = vst_schedule_choose(&schedule, vst_optim_schedule(o), o->schedule_options);
    if (status != VST_OK) return vst_fail_in(status, "optim.schedule_options");
    vst_schedule_clear(&schedule);
    return VST_OK;
}

vst_optimizer_options vst_recipe_optimizer(const vst_recipe *recipe) {
    const vst_optim_options *o = &recipe->optim;
    return (vst_optimizer_options){.name = vst_optim_name(o),
                                   .own = o->options,
                                   .momentum = o->momentum,
                                   .nesterov = o->nesterov,
                                   .beta1 = o->beta1,
                                   .beta2 = o->beta2,
                                   .epsilon = o->epsilon,
                                   .weight_decay = o->weight_decay,
                                   .clip_norm = o->clip_norm,
                                   .ema_decay = o->ema_decay,
                                   .ema_ramp = o->ema_ramp,
                                   .accumulate = o->accumulate};
}

vst_status vst_recipe_check(const vst_recipe *recipe) {
    const vst_optim_options *optim = &recipe->optim;
    const vst_data_options *data = &recipe->data;
    if (!recipe->model)
        return vst_fail(VST_ERROR_ARGUMENT, "model.name is missing; `vistill models` lists the variants");
    if (!data->path) return vst_fail(VST_ERROR_ARGUMENT, "data.path is missing: the folder or file of the data set");
    if (optim->lr_rule == VST_LR_RULE_NONE && optim->min_lr > optim->lr)
        return vst_fail(VST_ERROR_ARGUMENT, "optim.min_lr = %g is above optim.lr = %g", optim->min_lr, optim->lr);
    if (data->limit > 0 && vst_step_images(optim) > data->limit)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.batch = %d by optim.accumulate = %d is more than data.limit = %d: no step "
                        "would be full",
                        optim->batch, optim->accumulate, data->limit);
    if (optim->loss == VST_LOSS_BCE && optim->smoothing > 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.smoothing = %g with optim.loss = bce: every class would count as right, because its "
                        "target is above 0; set optim.smoothing to 0",
                        optim->smoothing);
    if (recipe->run.new_head && !recipe->run.start)
        return vst_fail(VST_ERROR_ARGUMENT, "run.new_head needs run.start, which is not set");
    if (recipe->run.start_entry && !recipe->run.start)
        return vst_fail(VST_ERROR_ARGUMENT, "run.start_entry needs run.start, which is not set");
    if (recipe->run.quantization_aware && recipe->run.precision != VST_PRECISION_F32)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "run.quantization_aware simulates the 8-bit integers in float32, and bf16 would round them "
                        "again: set run.precision to f32");
    if (recipe->run.quantization_aware && !recipe->run.start)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "run.quantization_aware trains a model that was trained in float32 with simulated 8-bit "
                        "integers: name it with run.start");
    if ((recipe->distill.teacher_entry || recipe->distill.teacher_model) && !recipe->distill.teacher)
        return vst_fail(VST_ERROR_ARGUMENT, "distill.%s needs distill.teacher, which is not set",
                        recipe->distill.teacher_entry ? "teacher_entry" : "teacher_model");
    if (data->limit > 0 && data->labelled > data->limit)
        return vst_fail(VST_ERROR_ARGUMENT, "data.labelled = %d is more than data.limit = %d", data->labelled,
                        data->limit);
    vst_status status = check_optimizer(recipe);
    if (status == VST_OK) status = check_augment(recipe);
    return status == VST_OK ? check_distill(recipe) : status;
}
