/* Logging of a training run: setup, shares of the loss, log.txt, summary.csv. */
#include "recipes/train/log.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/train/pace.h"
#include "recipes/train/schedule.h"
#include "recipes/train/tensorboard.h"
#include "vision/base/clock.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { FAR = 16 /* between optim.lr_batch and the images of a step */ };
static const double SLOW_LOADING = 0.1; /* fraction of the training time from which it is logged */

/* ---- Before the first step ---- */

static void log_teacher(const vsti_trainer *t, const vsti_teacher *teacher) {
    char top1[64] = "trained on other classes";
    if (teacher->external) {
        snprintf(top1, sizeof top1, isnan(teacher->top1) ? "top-1 not known" : "top-1 %.2f %% on training samples",
                 teacher->top1);
        vst_log(VST_LOG_INFO, "teacher  logits of another program (vistill cache import), %s", top1);
        return;
    }
    if (!teacher->model) {
        vst_log(VST_LOG_INFO, "teacher  %s, decay %g", teacher->name, t->recipe->optim.ema_decay);
        return;
    }
    const int own = vst_model_common_of(teacher->config)->image;
    if (!isnan(teacher->top1))
        snprintf(top1, sizeof top1, "top-1 %.2f %% on %s", teacher->top1,
                 t->data.validation ? "the validation samples" : "training samples");
    vst_log(VST_LOG_INFO, "teacher  %s, %.2f M parameters, %s", teacher->config->variant,
            (double)vst_params_numel(teacher->params) / 1e6, top1);
    if (own != vst_model_common_of(t->recipe->model)->image)
        vst_log(VST_LOG_INFO, "         gets them resized to %d x %d pixels (bicubic, not antialiased)", own, own);
    if (teacher->top1 < 50)
        vst_log(VST_LOG_WARNING, "the teacher is right for only %.1f %% of them: is it trained, and for this data set?",
                teacher->top1);
    if (teacher->classes.map) {
        const vst_classes names = vst_model_classes(teacher->model, teacher->name);
        vst_class_match_log(&teacher->classes, &t->data.classes, &names);
    }
}

static void log_teachers(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    const char *augment = r->augment.train && *r->augment.train ? r->augment.train : "no augmentation";
    for (int i = 0; i < t->teachers.count; i++) log_teacher(t, &t->teachers.list[i]);
    if (!t->teachers.count) return;
    vst_log(VST_LOG_INFO, "images   the same for teacher and student, each with its own normalisation");
    vst_log(VST_LOG_INFO, "         view %016llx: %s", (unsigned long long)t->data.view, augment);
}

/* "all 60000", "500 of 60000" */
static void labelled_text(const vsti_trainer *t, char *text, size_t size) {
    const unsigned long long samples = vst_dataset_count(t->data.train), labelled = t->data.labelled;
    if (labelled == samples) snprintf(text, size, "all %llu", samples);
    else snprintf(text, size, "%llu of %llu", labelled, samples);
}

static void log_losses(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    char samples[64], weight[40] = "", smoothing[40] = "";
    labelled_text(t, samples, sizeof samples);
    if (t->distilling) snprintf(weight, sizeof weight, ", weight %g", r->distill.label_weight);
    if (r->optim.smoothing > 0) snprintf(smoothing, sizeof smoothing, ", smoothing %g", r->optim.smoothing);
    const bool none = vst_dataset_classes(t->data.train) == 0;
    const bool labels = !none && (!t->distilling || r->distill.label_weight > 0);
    if (labels)
        vst_log(VST_LOG_INFO, "learns   %-12s <- labels of %s samples%s%s", "logits", samples, weight, smoothing);
    if (none)
        vst_log(VST_LOG_INFO, "images   %llu without labels: it learns from the teacher alone",
                (unsigned long long)vst_dataset_count(t->data.train));
    for (int i = 0; t->distilling && i < r->term_count; i++)
        vst_log(VST_LOG_INFO, "%s %-12s <- %s's %s, distance %s, weight %g", labels || i ? "        " : "learns  ",
                r->terms[i].student, r->terms[i].from, r->terms[i].teacher, r->terms[i].distance, r->terms[i].weight);
}

static void log_data(const vsti_trainer *t) {
    const vst_augment_options *augment = &t->recipe->augment;
    vst_log(VST_LOG_INFO, "loading  %d thread%s, %.1f MB of batches", t->recipe->data.workers,
            t->recipe->data.workers == 1 ? "" : "s", (double)vsti_train_data_bytes(&t->data) / 1e6);
    if (vsti_recipe_mixes(t->recipe)) {
        vst_log(VST_LOG_INFO, "mixing   mixup %g, cutmix %g, of a share of %g of the %s", augment->mixup,
                augment->cutmix_minmax.count ? 1 : augment->cutmix, augment->mixup_prob,
                augment->mixup_mode == VST_MIX_BATCH  ? "batches"
                : augment->mixup_mode == VST_MIX_PAIR ? "pairs"
                                                      : "images");
        vst_log(VST_LOG_INFO, "         (training top-1 counts the class with the largest share of an image)");
    }
    if (augment->repeats > 1)
        vst_log(VST_LOG_INFO, "repeats  an epoch shows one sample in %d, %d times each", augment->repeats,
                augment->repeats);
}

/* The average covers about 1 / (1 - decay) steps: in a short run it still contains the initial random weights. */
static void log_average(const vsti_trainer *t) {
    const double memory = 1 / (1 - t->recipe->optim.ema_decay);
    if (!vsti_has_average(t)) return;
    vst_log(VST_LOG_INFO, "average  over some %.0f steps (ema_decay %g)", memory, t->recipe->optim.ema_decay);
    vst_log(VST_LOG_INFO, "         average and raw weights are evaluated, the %s ones are saved",
            vsti_saves_average(t) ? "average" : "raw");
    if (3 * memory > (double)t->schedule.steps)
        vst_log(VST_LOG_WARNING,
                "the run has only %llu steps, so the average lags far behind: set optim.ema_decay to %.5g or less%s",
                (unsigned long long)t->schedule.steps, 1 - 3 / fmax(6, (double)t->schedule.steps),
                vsti_saves_average(t) ? ", or optim.weights to raw" : "");
}

static void log_steps(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    const long long images = vst_step_images(&r->optim);
    const unsigned long long steps = t->data.steps / (uint64_t)r->optim.accumulate, warmup = t->schedule.warmup;
    vst_log(VST_LOG_INFO, "steps    %d epoch%s of %llu step%s, %lld image%s each", r->run.epochs,
            r->run.epochs == 1 ? "" : "s", steps, steps == 1 ? "" : "s", images, images == 1 ? "" : "s");
    vst_log(VST_LOG_INFO, "rate     %g (lr %g for %lld images), warm-up %llu step%s", t->schedule.rate, r->optim.lr,
            r->optim.lr_rule == VST_LR_RULE_NONE ? images : (long long)r->optim.lr_batch, warmup,
            warmup == 1 ? "" : "s");
    if (vst_schedule_measures(&t->schedule))
        vst_log(VST_LOG_INFO, "         (%s follows the %s)", vst_optim_schedule(&r->optim),
                t->data.validation ? "validation's top-1" : "training loss, as there is no data.validation");
    if (vsti_warmup_epochs(r) < r->optim.warmup_epochs)
        vst_log(VST_LOG_INFO, "         (a tenth of the run, which is not longer than optim.warmup_epochs: %g)",
                r->optim.warmup_epochs);
}

static void log_frozen(const vsti_trainer *t) {
    const vst_params *params = t->student.params;
    size_t frozen = 0;
    for (size_t i = 0; i < vst_params_count(params); i++)
        if (vst_params_at(params, i)->frozen) frozen += vst_params_at(params, i)->count;
    if (frozen)
        vst_log(VST_LOG_INFO, "frozen   %.2f M of them, by optim.freeze: %s", (double)frozen / 1e6,
                t->recipe->optim.freeze);
}

void vsti_log_setup(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    const vsti_student *s = &t->student;
    const vst_model_common *common = vst_model_common_of(r->model);
    vst_log(VST_LOG_INFO, "%-8s %s, %.2f M parameters, images %d x %d x %d", t->distilling ? "student" : "model",
            r->model->variant, (double)s->parameters / 1e6, common->channels, common->image, common->image);
    log_frozen(t);
    if (t->quantization.count)
        vst_log(VST_LOG_INFO,
                "int8     %zu layers train with simulated 8-bit integers; accuracy is that of the integers",
                t->quantization.count);
    if (s->grid) {
        vst_log(VST_LOG_INFO, "tokens   %d x %d = %d, %d more before them", s->grid, s->grid, s->grid * s->grid,
                s->prefix);
        if (s->grid * s->grid < 16)
            vst_log(VST_LOG_WARNING,
                    "only %d tokens: too few for a Vision Transformer; use a smaller patch or larger images",
                    s->grid * s->grid);
    }
    log_teachers(t);
    log_losses(t);
    log_data(t);
    const long long images = vst_step_images(&r->optim);
    if (r->optim.accumulate > 1)
        vst_log(VST_LOG_INFO, "gradient averaged over %d batches of %d images", r->optim.accumulate, r->optim.batch);
    log_steps(t);
    const double ratio = (double)images / r->optim.lr_batch;
    if (r->optim.lr_rule != VST_LR_RULE_NONE && (ratio >= FAR || ratio <= 1.0 / FAR))
        vst_log(VST_LOG_WARNING,
                "steps of %lld images are far from the %d that optim.lr is meant for, and no rule scales so far: set "
                "optim.batch or optim.accumulate, or find another optim.lr",
                images, r->optim.lr_batch);
    log_average(t);
}

/* Division by the number of classes, as in DeiT, makes the term that small. */
static bool is_divided_by_classes(const vst_term_options *term) {
    const vst_option *reduction = term ? vst_options_find(vst_term_own_table(term), "reduction") : NULL;
    char *value = reduction ? vst_options_get(reduction, term->own) : NULL;
    const bool divided = value && strcmp(value, "elements") == 0;
    vst_free(value);
    return divided;
}

/* term: NULL for the labels. In the first step the moving average equals the student, so the loss of such a term is
 * still 0. */
static void log_share(const vsti_trainer *t, const vst_term_options *term, const char *name, double weight,
                      double value, double norm, double total_norm) {
    const double total = t->progress.sums.loss, share = 100 * weight * value / total;
    const bool average = term && vst_term_source(term) == VST_FROM_AVERAGE;
    vst_log(VST_LOG_INFO, "first step: %-31s %8.5f x %-6g %6.2f %% %6.2f %%", name, value, weight, share,
            100 * norm / total_norm);
    if (weight > 0 && share < 1 && norm < 0.01 * total_norm && !average)
        vst_log(VST_LOG_WARNING, "%s makes less than 1 %% of the loss: raise its weight%s", name,
                is_divided_by_classes(term) ? ", or set its reduction to batchmean" : "");
}

enum { NAME = 160 };
static const char *term_name(const vst_term_options *term, char name[NAME]) {
    const char *from = strcmp(term->from, "teacher") == 0 ? "" : term->from;
    snprintf(name, NAME, "%s, %s <- %s%s%s", term->distance, term->student, from, *from ? "." : "", term->teacher);
    return name;
}

/* Seconds of a step in operations whose name begins with this prefix ("distill.0"); all operations with "". */
static double seconds_of(const vst_context *context, const char *scope) {
    const size_t length = strlen(scope);
    double sum = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        const bool within =
            strncmp(row.name, scope, length) == 0 && (row.name[length] == ' ' || row.name[length] == '.');
        if (!length || within) sum += row.seconds;
    }
    return sum;
}

/* Logs the time of each term. */
static void log_costs(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    double terms[VST_MAX_TERMS], all = 0;
    for (int i = 0; i < r->term_count; i++) {
        char scope[32];
        snprintf(scope, sizeof scope, VST_DISTILL_PREFIX "%d", i);
        all += terms[i] = seconds_of(t->student.context, scope);
    }
    const double plain = seconds_of(t->student.context, "") - all;
    vst_log(VST_LOG_INFO, "cost     %-34s %9.1f ms a batch", "the student alone", 1e3 * plain);
    if (t->teachers.count) vst_log(VST_LOG_INFO, "         %-34s %9.1f ms", "its teachers", 1e3 * t->teacher_seconds);
    for (int i = 0; i < r->term_count; i++) {
        char name[NAME];
        vst_log(VST_LOG_INFO, "         %-34.60s %9.1f ms, %.0f %% of the student", term_name(&r->terms[i], name),
                1e3 * terms[i], plain > 0 ? 100 * terms[i] / plain : 0);
    }
}

void vsti_log_loss_shares(const vsti_trainer *t) {
    const vst_recipe *r = t->recipe;
    double total_norm = 0;
    if (!t->distilling) return;
    for (int i = 0; i <= r->term_count; i++) total_norm += t->gradient_norms[i];
    vst_log(VST_LOG_INFO, "first step: %-31s %8s x %-6s %8s %8s", "share of loss and gradient", "value", "weight",
            "loss", "gradient");
    if (r->distill.label_weight > 0)
        log_share(t, NULL, "labels", r->distill.label_weight, t->progress.sums.labels, t->gradient_norms[0],
                  total_norm);
    for (int i = 0; i < r->term_count; i++) {
        char name[NAME];
        const vst_term_options *term = &r->terms[i];
        log_share(t, term, term_name(term, name), vst_term_weight(term, 0, r->run.epochs), t->progress.sums.terms[i],
                  t->gradient_norms[i + 1], total_norm);
    }
    log_costs(t);
}

/* ---- log.txt and summary.csv ---- */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Appends the object as one line and releases it. */
static void log_line(vsti_trainer *t, json_t *object) {
    char line[8192]; /* the longest has about 30 numbers */
    const size_t length = json_dumpb(object, line, sizeof line - 2, JSON_REAL_PRECISION(9));
    json_decref(object);
    if (!length || length > sizeof line - 2) {
        vst_log(VST_LOG_WARNING, "out of memory for a line of log.txt; the training goes on without it");
        return;
    }
    memcpy(line + length, "\n", 2);
    vsti_run_folder_append(&t->folder, "log.txt", line, length + 1);
}

static void set_terms(const vsti_trainer *t, json_t *line) {
    const double steps = (double)t->progress.sums.steps;
    if (!t->distilling) return;
    json_object_set_new(line, "train_labels_loss", number(t->progress.sums.labels / steps));
    for (int i = 0; i < t->recipe->term_count; i++) {
        char key[96];
        snprintf(key, sizeof key, "train_term%d_%s", i, t->recipe->terms[i].distance);
        json_object_set_new(line, key, number(t->progress.sums.terms[i] / steps));
    }
}

void vsti_log_step(vsti_trainer *t) {
    const vsti_epoch_sums *sums = &t->progress.sums;
    json_t *line = json_object();
    json_object_set_new(line, "epoch", json_integer(t->progress.epoch));
    json_object_set_new(line, "step", json_integer((json_int_t)t->progress.step));
    json_object_set_new(line, "train_lr", number(sums->rate / (double)sums->steps));
    json_object_set_new(line, "train_loss", number(sums->loss / (double)sums->steps));
    set_terms(t, line);
    log_line(t, line);
}

/* Means over the batches of the last step. */
void vsti_log_update(vsti_trainer *t, double norm, double rate) {
    const vsti_step_sums *sums = &t->progress.step_sums;
    const double batches = (double)sums->batches;
    const bool fresh = vsti_run_folder_size(&t->folder, VSTI_STEPS_FILE) == 0;
    char line[1024];
    int used = 0;
    if (fresh) {
        used = snprintf(line, sizeof line, "epoch,step,loss,labels");
        for (int i = 0; t->distilling && i < t->recipe->term_count; i++)
            used += snprintf(line + used, sizeof line - (size_t)used, ",term%d_%.20s", i, t->recipe->terms[i].distance);
        used += snprintf(line + used, sizeof line - (size_t)used, ",lr,gradient_norm,seconds\n");
        vsti_run_folder_append(&t->folder, VSTI_STEPS_FILE, line, (size_t)used);
    }
    used = snprintf(line, sizeof line, "%d,%llu,%.9g,%.9g", t->progress.epoch,
                    (unsigned long long)(t->progress.step / (uint64_t)t->recipe->optim.accumulate),
                    sums->loss / batches, sums->labels / batches);
    for (int i = 0; t->distilling && i < t->recipe->term_count; i++)
        used += snprintf(line + used, sizeof line - (size_t)used, ",%.9g", sums->terms[i] / batches);
    used += snprintf(line + used, sizeof line - (size_t)used, ",%.9g,%.9g,%.6f\n", rate, norm, sums->seconds);
    vsti_run_folder_append(&t->folder, VSTI_STEPS_FILE, line, (size_t)used);
}

static void log_json(vsti_trainer *t) {
    const vsti_epoch_figures *f = &t->progress.figures;
    json_t *line = json_object();
    json_object_set_new(line, "train_lr", number(t->progress.sums.rate / (double)t->progress.sums.steps));
    json_object_set_new(line, "train_loss", number(f->train_loss));
    json_object_set_new(line, "test_loss", number(f->test_loss));
    json_object_set_new(line, "test_acc1", number(f->test_top1));
    json_object_set_new(line, "test_acc5", number(f->test_top5));
    json_object_set_new(line, "epoch", json_integer(t->progress.epoch));
    json_object_set_new(line, "n_parameters", json_integer((json_int_t)t->student.parameters));
    json_object_set_new(line, "train_acc1", number(f->train_top1));
    if (t->data.validation) {
        json_object_set_new(line, "validation_loss", number(f->validation_loss));
        json_object_set_new(line, "validation_acc1", number(f->validation_top1));
    }
    if (vsti_has_average(t)) {
        const bool average = vsti_saves_average(t);
        json_object_set_new(line, "test_loss_ema", number(average ? f->test_loss : f->other_loss));
        json_object_set_new(line, "test_acc1_ema", number(average ? f->test_top1 : f->other_top1));
        json_object_set_new(line, "test_loss_raw", number(average ? f->other_loss : f->test_loss));
        json_object_set_new(line, "test_acc1_raw", number(average ? f->other_top1 : f->test_top1));
    }
    set_terms(t, line);
    log_line(t, line);
}

/* Columns as in timm, percentages as numbers; columns of the validation split and of average and raw weights, if any,
 * come last. */
static void log_csv(vsti_trainer *t) {
    const vsti_epoch_figures *f = &t->progress.figures;
    const vsti_epoch_sums *sums = &t->progress.sums;
    char line[512], more[64] = "", both[64] = "";
    const bool fresh = vsti_run_folder_size(&t->folder, "summary.csv") == 0;
    if (t->data.validation) snprintf(more, sizeof more, ",%.6f,%.4f", f->validation_loss, f->validation_top1);
    if (vsti_has_average(t))
        snprintf(both, sizeof both, ",%.4f,%.4f", vsti_saves_average(t) ? f->test_top1 : f->other_top1,
                 vsti_saves_average(t) ? f->other_top1 : f->test_top1);
    if (fresh) {
        snprintf(line, sizeof line, "epoch,lr,train_loss,train_top1,eval_loss,eval_top1,seconds%s%s\n",
                 *more ? ",validation_loss,validation_top1" : "", *both ? ",eval_top1_ema,eval_top1_raw" : "");
        vsti_run_folder_append(&t->folder, "summary.csv", line, strlen(line));
    }
    snprintf(line, sizeof line, "%d,%.9g,%.6f,%.4f,%.6f,%.4f,%.2f%s%s\n", t->progress.epoch,
             sums->rate / (double)sums->steps, f->train_loss, f->train_top1, f->test_loss, f->test_top1, sums->seconds,
             more, both);
    vsti_run_folder_append(&t->folder, "summary.csv", line, strlen(line));
}

/* At most 80 columns: "epoch 9/10: loss 1.2345, test 1.2345; top-1 90.12, val 90.12, test 90.12 %; 12.3 s" */
void vsti_log_epoch(vsti_trainer *t) {
    const vsti_epoch_figures *f = &t->progress.figures;
    char test_loss[32] = "", validation[32] = "", test[32] = "", top1[32] = "", all[96];
    if (!isnan(f->train_top1)) snprintf(top1, sizeof top1, " %.2f", f->train_top1); /* there were labels */
    log_json(t);
    log_csv(t);
    vsti_log_tensorboard(t);
    if (!isnan(f->test_top1)) {
        snprintf(test_loss, sizeof test_loss, ", test %.4f", f->test_loss);
        snprintf(test, sizeof test, ", test %.2f", f->test_top1);
    }
    if (!isnan(f->validation_top1)) snprintf(validation, sizeof validation, ", val %.2f", f->validation_top1);
    snprintf(all, sizeof all, "%s%s%s", top1, validation, test);
    vst_log(VST_LOG_INFO, "epoch %d/%d: loss %.4f%s%s%s%s; %.1f s", t->progress.epoch + 1, t->recipe->run.epochs,
            f->train_loss, test_loss, *all ? "; top-1" : "", all + (*all == ','), *all ? " %" : "",
            t->progress.sums.seconds);
    if (!isnan(f->other_top1))
        vst_log(VST_LOG_INFO, "         the %s weights: test loss %.4f, top-1 %.2f %%",
                vsti_saves_average(t) ? "raw" : "average", f->other_loss, f->other_top1);
    if (t->waiting > SLOW_LOADING)
        vst_log(VST_LOG_INFO, "         %.0f %% of training waited for images: more data.workers may help",
                100 * t->waiting);
}

/* ---- Progress ---- */

void vsti_notify_progress(const vsti_trainer *t, const char *phase) {
    const vsti_epoch_sums *sums = &t->progress.sums;
    if (!t->options->progress) return;
    const double steps = sums->steps ? (double)sums->steps : NAN;
    const vst_train_progress progress = {
        .epoch = t->progress.epoch,
        .epochs = t->recipe->run.epochs,
        .step = t->progress.step,
        .steps = t->data.steps,
        .batch = t->recipe->optim.batch,
        .loss = sums->loss / steps,
        .top1 = sums->labelled ? 100 * (double)sums->correct / (double)sums->labelled : NAN,
        .rate = sums->rate / steps,
        .seconds_left = vsti_seconds_left(t),
        .study_left = NAN,
        .phase = phase};
    t->options->progress(&progress, t->options->user);
}
