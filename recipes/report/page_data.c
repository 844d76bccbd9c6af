/* Fills the report from measured runs. */
#include "recipes/report/page_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/infer/attention.h"
#include "recipes/infer/model_session.h"
#include "vision/base/memory.h"
#include "vision/image/resize.h"

enum { TOKENS = 2, MAPS = 1 + TOKENS, SHOWN_SIDE = 168 }; /* minimum side in pixels of an image with attention */

/* ---- Pictures ---- */

/* Chooses images evenly spread over the test split; every fourth gets attention maps. An image that cannot be read is
 * replaced by the next one. */
static vst_status choose_pictures(vsti_page_data *page, const vst_dataset *test) {
    const uint64_t count = vst_dataset_count(test);
    const int wanted = count < VSTI_PICTURES ? (int)count : VSTI_PICTURES;
    int shown = 0;
    for (int i = 0; i < wanted; i++) {
        page->samples[shown] = (uint64_t)i * count / (uint64_t)wanted;
        const vst_status status =
            vst_dataset_read_next(test, &page->samples[shown], &page->pictures[shown], &page->labels[shown]);
        if (status == VST_OK) shown++;
        else if (!vst_dataset_is_broken(status)) return status;
    }
    page->report.picture_count = shown;
    page->report.view_count = shown < VSTI_VIEWS ? shown : VSTI_VIEWS;
    for (int i = 0; i < page->report.view_count; i++) page->views[i] = i * shown / page->report.view_count;
    return VST_OK;
}

/* Keeps the wrong predictions with the highest probabilities, in descending order. Returns their number. */
static int find_mistakes(const vst_evaluation *answers, uint64_t found[VSTI_MISTAKES]) {
    int count = 0;
    for (uint64_t i = 0; i < answers->samples; i++) {
        const float probability = answers->probabilities[i];
        if (answers->labels[i] < 0 || answers->predictions[i] == answers->labels[i]) continue;
        int place = count;
        while (place > 0 && answers->probabilities[found[place - 1]] < probability) place--;
        if (place == VSTI_MISTAKES) continue;
        if (count < VSTI_MISTAKES) count++;
        memmove(found + place + 1, found + place, (size_t)(count - 1 - place) * sizeof *found);
        found[place] = i;
    }
    return count;
}

/* The worst mistakes follow the other images. One that can no longer be read is omitted. */
static vst_status choose_mistakes(vsti_page_data *page, const vst_dataset *test, const vst_evaluation *answers) {
    uint64_t found[VSTI_MISTAKES];
    const int count = find_mistakes(answers, found);
    for (int i = 0; i < count; i++) {
        const int place = page->report.picture_count + page->report.mistake_count;
        const vst_status status = vst_dataset_read(test, found[i], &page->pictures[place], &page->labels[place]);
        if (vst_dataset_is_broken(status)) continue;
        if (status != VST_OK) return status;
        page->samples[place] = found[i];
        page->report.mistake_count++;
    }
    return VST_OK;
}

/* Whether the run was tested on the images of the page. */
static bool is_same_data(const vsti_measured_run *run, const vst_dataset *test) {
    return run->test && vst_dataset_count(run->test) == vst_dataset_count(test) &&
           vst_dataset_classes(run->test) == vst_dataset_classes(test) &&
           strcmp(vst_dataset_path(run->test), vst_dataset_path(test)) == 0;
}

/* ---- Attention ---- */

static vst_status draw_maps(vst_image *out, const vst_session *session, const vst_image *view, const float *maps) {
    vst_status status = VST_OK;
    vst_image shown = {0}, scratch = {0};
    const int side = vst_session_attention_side(session), scale = (SHOWN_SIDE - 1) / view->width + 1;
    VST_TRY(
        vst_image_resize(view, NULL, view->height * scale, view->width * scale, VST_FILTER_NEAREST, &scratch, &shown));
    for (int t = 0; t < vst_session_attention_tokens(session); t++)
        VST_TRY(vst_attention_overlay(&shown, maps + t * side * side, side, &out[1 + t]));
    out[0] = shown;
    shown = (vst_image){0};
out:
    vst_image_clear(&shown);
    vst_image_clear(&scratch);
    return status;
}

/* One image as input of the model, and the attention of its tokens. */
static vst_status draw_view(vst_image *out, vst_session *session, const vst_dataset *test, uint64_t sample) {
    vst_status status = VST_OK;
    vst_image image = {0}, scratch[2] = {{0}};
    vst_result result = {0};
    const size_t bytes = vst_session_image_floats(session) * sizeof(float);
    float *floats = vst_alloc(bytes);
    int label;
    if (!floats) VST_TRY(vst_fail_memory(bytes));
    VST_TRY(vst_dataset_read(test, sample, &image, &label));
    VST_TRY(vst_session_convert(session, &image, scratch, floats));
    VST_TRY(vst_session_run(session, floats, 1, &result));
    VST_TRY(draw_maps(out, session, &image, result.attention));
out:
    vst_result_clear(&result);
    vst_image_clear(&image);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
    vst_free(floats);
    return status;
}

static vst_status show_attention(vsti_page_data *page, const vsti_measured_run *run, vst_image *images,
                                 vst_report_run *row) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    const int channels = vst_model_common_of(run->model->config)->channels;
    if (channels != vst_dataset_channels(run->test)) return VST_OK; /* the input cannot be shown as an image */
    const vst_session_options options = {.attention = true, .taps_only = true};
    VST_TRY(vst_session_create_model(&session, run->model, &options));
    const int tokens = vst_session_attention_tokens(session);
    for (int i = 0; tokens && i < page->report.view_count; i++)
        VST_TRY(draw_view(images + i * (1 + tokens), session, run->test, page->samples[page->views[i]]));
    row->attention = tokens ? images : NULL;
    row->attention_tokens = tokens;
out:
    vst_session_close(session);
    return status;
}

/* ---- Rows ---- */

static void fill_row(vst_report_run *row, const vsti_measured_runs *set, const vsti_measured_run *run) {
    const vst_evaluation *answers = vsti_report_answers(set, run);
    *row = vst_report_unknown(run->name);
    row->folder = run->alone ? NULL : run->folder;
    row->model = run->model ? run->model->config->variant : run->recipe ? run->recipe->model->variant : NULL;
    row->file = run->file_name;
    row->seeds = run->seed;
    row->notes = run->notes;
    row->latency_ms = run->latency.median;
    row->latency_low = run->latency.low;
    row->latency_high = run->latency.high;
    row->megabytes = run->megabytes;
    row->minutes = vsti_curve_minutes(&run->curve);
    row->epochs = (int)run->curve.count;
    if (run->curve.count) row->last_top1 = run->curve.epochs[run->curve.count - 1].eval_top1;
    if (run->model) row->parameters = (double)vst_params_numel(run->model->params);
    row->top1 = answers ? answers->top1 : row->last_top1;
    row->agreement = &run->agreement;
    if (run->teacher >= 0 && run->agreement.count > 1 && strcmp(run->agreement.names[0], "teacher") == 0)
        row->teacher_agreement = run->agreement.same[0][run->agreement.count - 1];
}

/* ", key=value" for each option of a term that is not its default. */
static bool write_options(FILE *lines, const vst_option *table, const void *structure) {
    static const char *const told[] = {"distance", "from", "student", "teacher", "weight", NULL};
    bool good = true;
    for (const vst_option *option = table; good && option->type != VST_TYPE_END; option++) {
        char *value = vst_options_get(option, structure);
        bool new = true;
        for (int i = 0; told[i]; i++) new = new &&strcmp(told[i], option->name) != 0;
        if (new &&value && strcmp(value, option->default_value ? option->default_value : "") != 0)
            fprintf(lines, ", %s %s", option->name, value);
        good = value != NULL;
        vst_free(value);
    }
    return good;
}

static bool write_terms(FILE *lines, const vst_recipe *recipe) {
    bool good = true;
    for (int i = 0; good && i < recipe->term_count; i++) {
        const vst_term_options *term = &recipe->terms[i];
        fprintf(lines, "distill.terms.%d: %s, %s from %s's %s, weight %g", i, term->distance, term->student, term->from,
                term->teacher, term->weight);
        good = write_options(lines, vst_term_table, term) && write_options(lines, vst_term_own_table(term), term->own);
        fputc('\n', lines);
    }
    return good;
}

/* The keys that determine the result, with teacher and terms: lines "key: value", one per term. NULL: out of memory. */
static char *recipe_lines(const vst_recipe *recipe) {
    char *essence = vst_recipe_essence(recipe), *buffer = NULL, *text = NULL;
    size_t size = 0;
    FILE *lines = essence ? open_memstream(&buffer, &size) : NULL;
    bool good = lines != NULL;
    for (const char *at = essence; good && *at; at += strcspn(at, "\n") + 1)
        if (strncmp(at, "distill.terms", 13) != 0) fwrite(at, 1, strcspn(at, "\n") + 1, lines);
    if (good)
        fprintf(lines, "distill.teacher: %s\nrun.start: %s\n", recipe->distill.teacher ? recipe->distill.teacher : "",
                recipe->run.start ? recipe->run.start : "");
    good = good && write_terms(lines, recipe);
    if (lines) good &= fclose(lines) == 0;
    if (good) text = vst_strdup(buffer);
    free(buffer);
    vst_free(essence);
    return text;
}

/* The first other run of the same model without a teacher, preferably with the same number of epochs. */
static const vst_report_run *find_plain(const vsti_page_data *page, const vsti_measured_runs *set, const int *chosen,
                                        int index) {
    const vst_report_run *row = &page->runs[index], *found = NULL;
    for (int i = 0; i < page->run_count; i++) {
        const vst_report_run *other = &page->runs[i];
        const vsti_measured_run *run = &set->runs[chosen[i]];
        if (i == index || !run->recipe || vst_teacher_count(run->recipe) > 0 || !row->model || !other->model) continue;
        if (strcmp(other->model, row->model) != 0 || other->parameters != row->parameters) continue;
        if (!found || (found->epochs != row->epochs && other->epochs == row->epochs)) found = other;
    }
    return found;
}

static void relate_rows(vsti_page_data *page, const vsti_measured_runs *set, const int *chosen) {
    for (int i = 0; i < page->run_count; i++) {
        const vsti_measured_run *run = &set->runs[chosen[i]];
        if (!run->recipe || vst_teacher_count(run->recipe) == 0) continue;
        const int teacher = vsti_report_teacher(set, run);
        for (int k = 0; k < page->run_count; k++)
            if (chosen[k] == teacher) page->runs[i].teacher = &page->runs[k];
        page->runs[i].plain = find_plain(page, set, chosen, i);
    }
}

static vst_status show_answers(vsti_page_data *page, const vsti_measured_runs *set, vsti_measured_run *run, int index) {
    vst_status status = VST_OK;
    const vst_evaluation *answers = vsti_report_answers(set, run);
    vst_report_run *row = &page->runs[index];
    int *predictions = page->predictions + index * VSTI_SHOWN;
    float *probabilities = page->probabilities + index * VSTI_SHOWN;
    if (!answers) goto out;
    VST_TRY(vst_confusion_create(&page->confusions[index], answers));
    row->confusion = &page->confusions[index];
    row->predictions = predictions;
    row->probabilities = probabilities;
    for (int i = 0; i < page->report.picture_count + page->report.mistake_count; i++) {
        predictions[i] = answers->predictions[page->samples[i]];
        probabilities[i] = answers->probabilities[page->samples[i]];
    }
    status = show_attention(page, run, page->attention + (ptrdiff_t)index * VSTI_VIEWS * MAPS, row);
    VST_TRY(vsti_report_note(run, status, "no attention maps"));
out:
    row->notes = run->notes;
    return status;
}

/* The page shows images of the test split of `shown`. */
static vst_status show_data(vsti_page_data *page, vsti_measured_runs *set, const int *chosen,
                            const vsti_measured_run *shown) {
    vst_status status = VST_OK;
    const vst_dataset *test = shown->test;
    const int classes = vst_dataset_classes(test);
    page->class_names = vst_calloc((size_t)classes, sizeof *page->class_names);
    if (!page->class_names) VST_TRY(vst_fail_memory((size_t)classes * sizeof *page->class_names));
    for (int i = 0; i < classes; i++) page->class_names[i] = vst_dataset_class_name(test, i);
    page->report.class_names = page->class_names;
    page->report.class_count = classes;
    VST_TRY(choose_pictures(page, test));
    for (int i = page->run_count - 1; i >= 0 && !page->report.mistake_count; i--) {
        const vst_evaluation *answers = vsti_report_answers(set, &set->runs[chosen[i]]);
        if (!answers || !is_same_data(&set->runs[chosen[i]], test)) continue;
        page->report.mistaken = i;
        VST_TRY(choose_mistakes(page, test, answers));
    }
    for (int i = 0; i < page->run_count; i++) {
        vsti_measured_run *run = &set->runs[chosen[i]];
        if (is_same_data(run, test)) VST_TRY(show_answers(page, set, run, i));
        else if (run->test)
            VST_TRY(vsti_report_note(run,
                                     vst_fail(VST_ERROR_ARGUMENT, "it was tested on %s, the others on %s",
                                              vst_dataset_path(run->test), vst_dataset_path(test)),
                                     "no matrix and no pictures"));
        page->runs[i].notes = run->notes;
    }
    snprintf(page->subtitle, sizeof page->subtitle, "%s, %llu test images", shown->data,
             (unsigned long long)vst_dataset_count(test));
    page->report.subtitle = page->subtitle;
out:
    return status;
}

vst_status vsti_page_data_fill(vsti_page_data *page, vsti_measured_runs *set, const int *chosen, int count) {
    vst_status status = VST_OK;
    const size_t runs = (size_t)count;
    const vsti_measured_run *shown = NULL;
    page->run_count = count;
    page->runs = vst_calloc(runs, sizeof *page->runs);
    page->predictions = vst_calloc(runs * VSTI_SHOWN, sizeof *page->predictions);
    page->probabilities = vst_calloc(runs * VSTI_SHOWN, sizeof *page->probabilities);
    page->attention = vst_calloc(runs * VSTI_VIEWS * MAPS, sizeof *page->attention);
    page->recipes = vst_calloc(runs, sizeof *page->recipes);
    page->confusions = vst_calloc(runs, sizeof *page->confusions);
    if (!page->runs || !page->predictions || !page->probabilities || !page->attention || !page->recipes ||
        !page->confusions)
        VST_TRY(vst_fail_memory(runs * VSTI_SHOWN * sizeof *page->attention));
    page->report = (vst_report){.runs = page->runs,
                                .run_count = count,
                                .labels = page->labels,
                                .pictures = page->pictures,
                                .views = page->views};
    for (int i = 0; i < count; i++) {
        const vsti_measured_run *run = &set->runs[chosen[i]];
        fill_row(&page->runs[i], set, run);
        if (run->recipe && !(page->recipes[i] = recipe_lines(run->recipe)))
            VST_TRY(vst_fail_memory(sizeof *run->recipe));
        page->runs[i].recipe = page->recipes[i];
        if (!shown && vsti_report_answers(set, run)) shown = run;
        if (run->yaml) page->report.recipe = run->yaml;
    }
    relate_rows(page, set, chosen);
    if (shown) VST_TRY(show_data(page, set, chosen, shown));
out:
    return status;
}

void vsti_page_data_clear(vsti_page_data *page) {
    for (int i = 0; i < VSTI_SHOWN; i++) vst_image_clear(&page->pictures[i]);
    for (int i = 0; page->attention && i < page->run_count * VSTI_VIEWS * MAPS; i++)
        vst_image_clear(&page->attention[i]);
    for (int i = 0; page->recipes && i < page->run_count; i++) vst_free(page->recipes[i]);
    vst_free(page->recipes);
    vst_free(page->probabilities);
    for (int i = 0; page->confusions && i < page->run_count; i++) vst_confusion_clear(&page->confusions[i]);
    vst_free(page->confusions);
    vst_free(page->runs);
    vst_free(page->predictions);
    vst_free(page->attention);
    vst_free(page->class_names);
    *page = (vsti_page_data){0};
}
