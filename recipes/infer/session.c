/* Sessions: a program for each batch size, a pool of contexts, and what goes in and comes out of them. */
#include "recipes/infer/session.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "recipes/distill/tap.h"
#include "recipes/infer/attention.h"
#include "recipes/infer/median.h"
#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "vision/base/memory.h"
#include "vision/base/threads.h"
#include "vision/image/decode.h"
#include "vision/image/geometry.h"
#include "vision/ops/ops.h"

enum { DEFAULT_PROGRAMS = 8 };

typedef struct batch_program batch_program;

/* A context, at rest in its program's list or lent to a run. */
typedef struct runner {
    struct runner *next;
    batch_program *owner;
    vst_context *context;
} runner;

struct batch_program {
    batch_program *next;
    int batch;
    vst_program *program;
    runner *idle;
    int lent;      /* contexts that runs have */
    int contexts;  /* all of them */
    uint64_t used; /* when a run last asked for it, in runs of the session */
};

/* Where in a program's outputs the parts of an answer are; -1: not there. */
typedef struct output_places {
    int scores, heads, taps, attention, count;
} output_places;

struct vst_session {
    vst_model *owned; /* of vst_session_open */
    const vst_model_config *config;
    vst_params *params;
    const char *const *class_names;
    vst_quant quant; /* of the model */
    int threads, image, limit;
    bool attention_wanted, taps_only, profile, bf16;
    vst_session_tap *taps; /* name: owned */
    int tap_count;
    vst_rollout attention;
    output_places places;

    pthread_mutex_t building; /* held while a program is made, before `lock` */
    pthread_mutex_t lock;     /* of what follows */
    batch_program *programs;
    int program_count;
    uint64_t runs;
};

/* ---- Graphs -------------------------------------------------------------------------------------------------- */

static vst_status find_tap(vst_graph *graph, const char *wanted, const vst_model_config *config, vst_value *value,
                           char name[VST_TAP_NAME]) {
    char taps[500];
    *value = vst_tap_find(graph, wanted, name);
    if (value->id) return VST_OK;
    const vst_status status = vst_graph_finish(graph); /* what the model's builder said comes first */
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_NOT_FOUND,
                    "%s has no tap '%s'; it has %s, and blocks of a transformer have .q, .k, .v and .scores",
                    config->variant, wanted, vst_tap_list(graph, taps, sizeof taps));
}

/* The graph of a batch. `wanted`: the names of the taps; outputs: room for all of `places`. *attention and *places say
 * what was found. */
static vst_status build_graph(vst_graph **out, const vst_session *self, int batch, const char *const *wanted,
                              vst_value *outputs, char (*names)[VST_TAP_NAME], vst_rollout *attention,
                              output_places *places) {
    vst_status status = VST_OK;
    const vst_model_common *common = vst_model_common_of(self->config);
    *places = (output_places){-1, -1, -1, -1, 0};
    *attention = (vst_rollout){0};
    VST_TRY(vst_graph_create(out, self->params));
    if (self->image == common->image) {
        vst_model_build(*out, self->config, batch);
    } else {
        const vst_value image = vst_input(*out, "image", VST_SHAPE(batch, common->channels, self->image, self->image));
        vst_model_build_on(*out, self->config, vst_resize(*out, image, common->image, common->image, VST_BICUBIC));
    }
    if (!self->taps_only) {
        const vst_value distilled = vst_find(*out, "logits_dist");
        places->scores = places->count;
        outputs[places->count++] = vst_model_scores(*out);
        if (distilled.id) {
            places->heads = places->count;
            outputs[places->count++] = vst_find(*out, "logits");
            outputs[places->count++] = distilled;
        }
    }
    places->taps = places->count;
    for (int i = 0; i < self->tap_count; i++)
        VST_TRY(find_tap(*out, wanted[i], self->config, &outputs[places->count++], names[i]));
    if (self->attention_wanted) {
        places->attention = places->count;
        *attention = vst_rollout_find(*out, outputs + places->count);
        places->count += attention->tokens ? attention->blocks : 0;
    }
    VST_TRY(vst_graph_finish(*out));
out:
    return status;
}

static size_t most_outputs(const vst_session *self) {
    return 1 + VST_HEADS + (size_t)self->tap_count + VST_ROLLOUT_BLOCKS;
}

/* Finds out what the answers are by a graph of one image. */
static vst_status describe(vst_session *self, const char *const *wanted) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_value *outputs = vst_calloc(most_outputs(self), sizeof *outputs);
    char(*names)[VST_TAP_NAME] = vst_calloc((size_t)self->tap_count + 1, sizeof *names);
    self->taps = vst_calloc((size_t)self->tap_count + 1, sizeof *self->taps);
    if (!outputs || !names || !self->taps) VST_TRY(vst_fail_memory(most_outputs(self) * sizeof *outputs));
    VST_TRY(build_graph(&graph, self, 1, wanted, outputs, names, &self->attention, &self->places));
    for (int i = 0; i < self->tap_count; i++) {
        vst_session_tap *tap = &self->taps[i];
        tap->name = vst_strdup(names[i]);
        if (!tap->name) VST_TRY(vst_fail_memory(sizeof names[i]));
        tap->shape = vst_shape_at(graph, outputs[self->places.taps + i]);
        tap->floats = (size_t)vst_shape_count(&tap->shape);
    }
out:
    vst_graph_destroy(graph);
    vst_free(outputs);
    vst_free(names);
    return status;
}

/* ---- Programs and contexts ----------------------------------------------------------------------------------- */

static void destroy_program(batch_program *program) {
    if (!program) return;
    while (program->idle) {
        runner *first = program->idle;
        program->idle = first->next;
        vst_context_destroy(first->context);
        vst_free(first);
    }
    vst_program_destroy(program->program);
    vst_free(program);
}

static vst_status build_program(batch_program **out, const vst_session *self, int batch, vst_program *share) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_rollout attention;
    output_places places;
    batch_program *made = vst_calloc(1, sizeof *made);
    vst_value *outputs = vst_calloc(most_outputs(self), sizeof *outputs);
    const char **wanted = vst_calloc((size_t)self->tap_count + 1, sizeof *wanted);
    char(*names)[VST_TAP_NAME] = vst_calloc((size_t)self->tap_count + 1, sizeof *names);
    if (!made || !outputs || !wanted || !names) VST_TRY(vst_fail_memory(most_outputs(self) * sizeof *outputs));
    for (int i = 0; i < self->tap_count; i++) wanted[i] = self->taps[i].name;
    VST_TRY(build_graph(&graph, self, batch, wanted, outputs, names, &attention, &places));
    made->batch = batch;
    const vst_program_options options = {.mode = VST_INFER,
                                         .threads = self->threads,
                                         .share = share,
                                         .precision = self->bf16 ? VST_PRECISION_BF16 : VST_PRECISION_F32,
                                         .quant = &self->quant};
    VST_TRY(vst_program_create(&made->program, graph, outputs, places.count, &options));
    *out = made;
    made = NULL;
out:
    destroy_program(made);
    vst_graph_destroy(graph);
    vst_free(outputs);
    vst_free(wanted);
    vst_free(names);
    return status;
}

/* With the lock held. */
static batch_program *find_program(const vst_session *self, int batch) {
    for (batch_program *p = self->programs; p; p = p->next)
        if (p->batch == batch) return p;
    return NULL;
}

/* With the lock held: takes the least recently used programs that no run has out of the list, as far as there are too
 * many; gives them back as a list. */
static batch_program *take_surplus(vst_session *self) {
    batch_program *surplus = NULL;
    while (self->program_count > self->limit) {
        batch_program **oldest = NULL;
        for (batch_program **p = &self->programs; *p; p = &(*p)->next)
            if (!(*p)->lent && (!oldest || (*p)->used < (*oldest)->used)) oldest = p;
        if (!oldest) break;
        batch_program *gone = *oldest;
        *oldest = gone->next;
        gone->next = surplus;
        surplus = gone;
        self->program_count--;
    }
    return surplus;
}

static void destroy_programs(batch_program *list) {
    while (list) {
        batch_program *next = list->next;
        destroy_program(list);
        list = next;
    }
}

/* Lends the batch's program to a run, whose context is at rest or NULL; NULL: there is no such program yet. */
static batch_program *lend(vst_session *self, int batch, runner **free_runner) {
    pthread_mutex_lock(&self->lock);
    batch_program *program = find_program(self, batch);
    *free_runner = NULL;
    if (program) {
        program->lent++;
        program->used = ++self->runs;
        *free_runner = program->idle;
        if (program->idle) program->idle = program->idle->next;
    }
    pthread_mutex_unlock(&self->lock);
    return program;
}

static void give_back(vst_session *self, batch_program *program, runner *used) {
    pthread_mutex_lock(&self->lock);
    program->lent--;
    if (used) {
        used->next = program->idle;
        program->idle = used;
    }
    batch_program *surplus = take_surplus(self);
    pthread_mutex_unlock(&self->lock);
    destroy_programs(surplus);
}

/* Threads that want the same new batch size wait for the first of them; the others do not wait. */
static vst_status add_program(vst_session *self, int batch) {
    vst_status status = VST_OK;
    batch_program *made = NULL;
    pthread_mutex_lock(&self->building);
    pthread_mutex_lock(&self->lock);
    batch_program *share = self->programs;
    const bool known = find_program(self, batch) != NULL;
    if (share) share->lent++; /* stays while its weights are shared */
    pthread_mutex_unlock(&self->lock);
    if (!known) status = build_program(&made, self, batch, share ? share->program : NULL);
    pthread_mutex_lock(&self->lock);
    if (share) share->lent--;
    if (made) {
        made->next = self->programs;
        made->used = ++self->runs;
        self->programs = made;
        self->program_count++;
    }
    pthread_mutex_unlock(&self->lock);
    pthread_mutex_unlock(&self->building);
    return status;
}

static vst_status make_runner(vst_session *self, batch_program *program, runner **out) {
    runner *made = vst_calloc(1, sizeof *made);
    if (!made) return vst_fail_memory(sizeof *made);
    made->owner = program;
    const vst_status status =
        vst_context_create(&made->context, program->program, &(vst_context_options){.profile = self->profile});
    if (status != VST_OK) {
        vst_free(made);
        return status;
    }
    pthread_mutex_lock(&self->lock);
    program->contexts++;
    pthread_mutex_unlock(&self->lock);
    *out = made;
    return VST_OK;
}

/* A context of the batch's program, to be given back with `release`. */
static vst_status acquire(vst_session *self, int batch, runner **out) {
    vst_status status = VST_OK;
    batch_program *program;
    if (batch < 1) return vst_fail(VST_ERROR_ARGUMENT, "a session is asked about %d images; give at least one", batch);
    while (!(program = lend(self, batch, out))) VST_TRY(add_program(self, batch));
    if (!*out) status = make_runner(self, program, out);
    if (status != VST_OK) give_back(self, program, NULL);
out:
    return status;
}

static void release(vst_session *self, runner *used) { give_back(self, used->owner, used); }

/* ---- Opening ------------------------------------------------------------------------------------------------- */

static vst_status check_options(const vst_session_options *o) {
    bool slow;
    if (o->bf16 && vst_precision_check(VST_PRECISION_BF16, &slow) != VST_OK) return VST_ERROR_UNSUPPORTED;
    if (o->threads < 0 || o->image < 0 || o->tap_count < 0 || o->programs < 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "a session's options threads (%d), image (%d), tap_count (%d) and programs "
                        "(%d) are 0 or more",
                        o->threads, o->image, o->tap_count, o->programs);
    return VST_OK;
}

static vst_status create(vst_session **out, const vst_model_config *config, vst_params *params,
                         const char *const *class_names, const vst_session_options *options) {
    vst_status status = VST_OK;
    static const vst_session_options none = {0};
    const vst_session_options *o = options ? options : &none;
    *out = NULL;
    vsti_team team;
    VST_TRY(check_options(o));
    VST_TRY(vsti_team_begin(&team, o->threads));
    vsti_team_end(&team); /* it was to know how many there are */
    vst_session *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    pthread_mutex_init(&self->building, NULL);
    pthread_mutex_init(&self->lock, NULL);
    self->config = config;
    self->params = params;
    self->class_names = class_names;
    self->threads = team.threads;
    self->image = o->image ? o->image : vst_model_common_of(config)->image;
    self->limit = o->programs ? o->programs : DEFAULT_PROGRAMS;
    self->attention_wanted = o->attention;
    self->taps_only = o->taps_only;
    self->profile = o->profile;
    self->bf16 = o->bf16;
    self->tap_count = o->tap_count;
    status = describe(self, o->taps);
    if (status == VST_OK) *out = self;
    else vst_session_close(self);
out:
    return status;
}

vst_status vst_session_create(vst_session **out, const vst_model_config *config, vst_params *params,
                              const vst_session_options *options) {
    return create(out, config, params, NULL, options);
}

vst_status vst_session_create_model(vst_session **out, const vst_model *model, const vst_session_options *options) {
    const vst_status status =
        create(out, model->config, model->params, (const char *const *)model->class_names, options);
    if (status == VST_OK)
        (*out)->quant =
            (vst_quant){.products = model->quantization.products, .product_count = model->quantization.count};
    return status;
}

vst_status vst_session_open(vst_session **out, const char *path, const vst_session_options *options) {
    vst_model *model = NULL;
    *out = NULL;
    vst_status status = vst_model_read(&model, path);
    if (status == VST_OK) status = vst_session_create_model(out, model, options);
    if (status == VST_OK) (*out)->owned = model;
    else vst_model_destroy(model);
    return status;
}

void vst_session_close(vst_session *session) {
    if (!session) return;
    destroy_programs(session->programs);
    for (int i = 0; session->taps && i < session->tap_count; i++) vst_free((char *)session->taps[i].name);
    vst_free(session->taps);
    vst_model_destroy(session->owned);
    pthread_mutex_destroy(&session->building);
    pthread_mutex_destroy(&session->lock);
    vst_free(session);
}

/* ---- What it is ---------------------------------------------------------------------------------------------- */

int vst_session_classes(const vst_session *session) { return vst_model_common_of(session->config)->classes; }
int vst_session_image(const vst_session *session) { return session->image; }
int vst_session_channels(const vst_session *session) { return vst_model_common_of(session->config)->channels; }

const char *vst_session_class_name(const vst_session *session, int index) {
    const bool known = session->class_names && index >= 0 && index < vst_session_classes(session);
    return known ? session->class_names[index] : "";
}

size_t vst_session_image_floats(const vst_session *session) {
    return (size_t)vst_session_channels(session) * (size_t)session->image * (size_t)session->image;
}

const vst_session_tap *vst_session_tap_at(const vst_session *session, int index) { return &session->taps[index]; }
int vst_session_attention_tokens(const vst_session *session) { return session->attention.tokens; }
int vst_session_attention_side(const vst_session *session) { return session->attention.side; }

/* ---- Images -------------------------------------------------------------------------------------------------- */

static vst_status finish_picture(const vst_session *session, const vst_evaluation_view *view,
                                 const vst_resize_window *window, vst_image *picture, vst_image scratch[2],
                                 float *image) {
    vst_status status = VST_OK;
    if (session->image != vst_model_common_of(session->config)->image)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "a session with options.image takes tensors alone, no pictures"));
    VST_TRY(vst_evaluation_finish(view, window, picture, scratch));
    VST_TRY(vst_image_convert(picture, vst_session_channels(session)));
    vst_image_to_floats(picture, image);
out:
    return status;
}

vst_status vst_session_convert(const vst_session *session, vst_image *picture, vst_image scratch[2], float *image) {
    const vst_evaluation_view view = vst_model_view(session->config);
    vst_resize_window window;
    vst_box part;
    vst_status status = vst_evaluation_begin(&view, picture->height, picture->width, &window, &part);
    if (status == VST_OK) status = vst_image_crop(picture, part, picture);
    return status == VST_OK ? finish_picture(session, &view, &window, picture, scratch, image) : status;
}

/* Only the part that the view needs is decoded, as the loader does it. */
vst_status vst_session_decode(const vst_session *session, vst_encoded file, float *image) {
    vst_status status = VST_OK;
    const vst_evaluation_view view = vst_model_view(session->config);
    vst_image picture = {0}, scratch[2] = {{0}};
    vst_image_facts facts;
    vst_resize_window window;
    vst_box part;
    const vst_decode_options options = {.channels = vst_session_channels(session) == 1 ? 1 : 3, .crop = &part};
    VST_TRY(vst_image_inspect(file.bytes, file.size, NULL, &facts));
    VST_TRY(vst_evaluation_begin(&view, facts.height, facts.width, &window, &part));
    VST_TRY(vst_image_decode(file.bytes, file.size, &options, &picture, NULL));
    VST_TRY(finish_picture(session, &view, &window, &picture, scratch, image));
out:
    vst_image_clear(&picture);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
    return status;
}

/* ---- Answers ------------------------------------------------------------------------------------------------- */

static size_t map_floats(const vst_session *self) {
    return (size_t)self->attention.tokens * (size_t)self->attention.side * (size_t)self->attention.side;
}

static vst_status reserve_array(float **array, int count, size_t floats, bool wanted) {
    size_t bytes;
    if (*array || !wanted) return VST_OK;
    if (!vst_multiply((size_t)count, floats * sizeof(float), &bytes)) return vst_fail_memory(SIZE_MAX);
    *array = vst_alloc(bytes);
    return *array ? VST_OK : vst_fail_memory(bytes);
}

static vst_status reserve_result(vst_result *result, const vst_session *self, int count) {
    vst_status status = VST_OK;
    const size_t classes = (size_t)vst_session_classes(self);
    if ((size_t)count > result->capacity || result->tap_count != self->tap_count) vst_result_clear(result);
    const int room = result->capacity ? (int)result->capacity : count;
    VST_TRY(reserve_array(&result->scores, room, classes, self->places.scores >= 0));
    for (int i = 0; i < VST_HEADS; i++)
        VST_TRY(reserve_array(&result->heads[i], room, classes, self->places.heads >= 0));
    VST_TRY(reserve_array(&result->attention, room, map_floats(self), self->attention.tokens > 0));
    if (self->tap_count && !result->taps) {
        result->taps = vst_calloc((size_t)self->tap_count, sizeof *result->taps);
        if (!result->taps) VST_TRY(vst_fail_memory((size_t)self->tap_count * sizeof *result->taps));
        result->tap_count = self->tap_count;
    }
    for (int i = 0; i < self->tap_count; i++)
        VST_TRY(reserve_array(&result->taps[i], room, self->taps[i].floats, true));
    result->capacity = (size_t)room;
    result->count = count;
    result->classes = (int)classes;
out:
    if (status != VST_OK) vst_result_clear(result);
    return status;
}

static void copy_output(const vst_context *context, int index, float *to, size_t floats) {
    memcpy(to, vst_context_output(context, index), floats * sizeof *to);
}

static vst_status roll_out(const vst_session *self, const vst_context *context, int count, float *maps) {
    const vst_rollout *a = &self->attention;
    const size_t floats = (size_t)a->heads * (size_t)a->all * (size_t)a->all;
    vst_status status = VST_OK;
    for (int i = 0; i < count && status == VST_OK; i++) {
        const float *blocks[VST_ROLLOUT_BLOCKS];
        for (int b = 0; b < a->blocks; b++)
            blocks[b] = vst_context_output(context, self->places.attention + b) + (size_t)i * floats;
        status = vst_rollout_maps(a, blocks, maps + (size_t)i * map_floats(self));
    }
    return status;
}

static vst_status take_answers(const vst_session *self, const vst_context *context, int count, vst_result *result) {
    const output_places *p = &self->places;
    const size_t scores = (size_t)count * (size_t)result->classes;
    if (p->scores >= 0) copy_output(context, p->scores, result->scores, scores);
    for (int i = 0; i < VST_HEADS && p->heads >= 0; i++) copy_output(context, p->heads + i, result->heads[i], scores);
    for (int i = 0; i < self->tap_count; i++)
        copy_output(context, p->taps + i, result->taps[i], (size_t)count * self->taps[i].floats);
    return self->attention.tokens ? roll_out(self, context, count, result->attention) : VST_OK;
}

vst_status vst_session_run(vst_session *session, const float *images, int count, vst_result *result) {
    vst_status status = VST_OK;
    runner *lent = NULL;
    VST_TRY(acquire(session, count, &lent));
    VST_TRY(reserve_result(result, session, count));
    memcpy(vst_context_input(lent->context, "image"), images,
           (size_t)count * vst_session_image_floats(session) * sizeof *images);
    VST_TRY(vst_context_run(lent->context, 0));
    VST_TRY(take_answers(session, lent->context, count, result));
out:
    if (lent) release(session, lent);
    return status;
}

vst_status vst_session_classify(vst_session *session, const vst_encoded *files, int count, vst_result *result) {
    vst_status status = VST_OK;
    const size_t floats = vst_session_image_floats(session);
    if (count < 1) return vst_fail(VST_ERROR_ARGUMENT, "a session is asked about %d files; give at least one", count);
    float *images = vst_alloc((size_t)count * floats * sizeof *images);
    if (!images) return vst_fail_memory((size_t)count * floats * sizeof *images);
    for (int i = 0; i < count; i++) {
        status = vst_session_decode(session, files[i], images + (size_t)i * floats);
        if (status != VST_OK) VST_TRY(count == 1 ? status : vst_fail_in(status, "image %d", i));
    }
    VST_TRY(vst_session_run(session, images, count, result));
out:
    vst_free(images);
    return status;
}

void vst_result_clear(vst_result *result) {
    vst_free(result->scores);
    vst_free(result->attention);
    for (int i = 0; i < VST_HEADS; i++) vst_free(result->heads[i]);
    for (int i = 0; i < result->tap_count; i++) vst_free(result->taps[i]);
    vst_free(result->taps);
    *result = (vst_result){0};
}

/* Is class a before class b? */
static bool is_better(const float *scores, int a, int b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

vst_status vst_session_top(const vst_session *session, const float *scores, int k, vst_class_score *top) {
    const int classes = vst_session_classes(session);
    int found = 0;
    double sum = 0;
    if (k < 1 || k > classes)
        return vst_fail(VST_ERROR_ARGUMENT, "the %d best of %d classes are wanted; ask for 1 to %d", k, classes,
                        classes);
    for (int c = 0; c < classes; c++) {
        if (!isfinite(scores[c]))
            return vst_fail(VST_ERROR_NUMERIC,
                            "the score of class %d is not finite: the model's weights or the image "
                            "hold values that are not",
                            c);
        int place = found < k ? found++ : k; /* insertion into the best so far */
        while (place > 0 && is_better(scores, c, top[place - 1].index)) {
            if (place < k) top[place] = top[place - 1];
            place--;
        }
        if (place < k)
            top[place] = (vst_class_score){.index = c, .name = vst_session_class_name(session, c), .score = scores[c]};
    }
    for (int c = 0; c < classes; c++) sum += exp((double)scores[c] - top[0].score);
    for (int i = 0; i < k; i++) top[i].probability = exp((double)top[i].score - top[0].score) / sum;
    return VST_OK;
}

/* ---- What it costs ------------------------------------------------------------------------------------------- */

vst_status vst_session_prepare(vst_session *session, int batch) {
    runner *lent = NULL;
    const vst_status status = acquire(session, batch, &lent);
    if (lent) release(session, lent);
    return status;
}

size_t vst_session_bytes(vst_session *session) {
    size_t bytes = 0;
    pthread_mutex_lock(&session->lock);
    if (session->programs) bytes = vst_program_packed_bytes(session->programs->program);
    for (const batch_program *p = session->programs; p; p = p->next)
        bytes += (size_t)p->contexts * vst_program_context_bytes(p->program);
    pthread_mutex_unlock(&session->lock);
    return bytes;
}

vst_status vst_session_profile_rows(vst_session_profile *profile, const vst_context *context) {
    profile->count = vst_context_profile_count(context);
    profile->rows = vst_calloc(profile->count + 1, sizeof *profile->rows);
    if (!profile->rows) return vst_fail_memory(profile->count * sizeof *profile->rows);
    for (size_t i = 0; i < profile->count; i++) vst_context_profile_at(context, i, &profile->rows[i]);
    return VST_OK;
}

vst_status vst_session_measure(vst_session *session, int batch, int runs, vst_session_profile *profile) {
    vst_status status = VST_OK;
    runner *lent = NULL;
    double *seconds = NULL; /* (rows, runs) */
    vst_session_profile_clear(profile);
    VST_TRY(acquire(session, batch, &lent));
    const size_t rows = vst_context_profile_count(lent->context), columns = (size_t)runs;
    seconds = vst_calloc(rows * columns + 1, sizeof *seconds);
    if (!seconds) VST_TRY(vst_fail_memory(rows * columns * sizeof *seconds));
    const size_t floats = (size_t)batch * vst_session_image_floats(session);
    for (int i = 0; i <= runs; i++) {
        float *image = vst_context_input(lent->context, "image"); /* a run may have destroyed it */
        for (size_t k = 0; k < floats; k++) image[k] = 0.5f;
        vst_context_profile_reset(lent->context);
        VST_TRY(vst_context_run(lent->context, 0));
        for (size_t row = 0; row < rows && i > 0; row++) { /* the first run warms up */
            vst_profile_row one;
            vst_context_profile_at(lent->context, row, &one);
            seconds[row * columns + (size_t)i - 1] = one.seconds;
        }
    }
    VST_TRY(vst_session_profile_rows(profile, lent->context));
    for (size_t row = 0; row < rows; row++)
        profile->rows[row].seconds = runs ? vst_median(seconds + row * columns, runs) : 0;
    profile->packed_bytes = vst_program_packed_bytes(lent->owner->program);
    profile->context_bytes = vst_program_context_bytes(lent->owner->program);
    profile->flops = vst_program_flops(lent->owner->program);
out:
    vst_free(seconds);
    if (lent) release(session, lent);
    return status;
}

void vst_session_profile_clear(vst_session_profile *profile) {
    vst_free(profile->rows);
    *profile = (vst_session_profile){0};
}
