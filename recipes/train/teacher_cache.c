/* Opens a recipe's data and teachers, and builds or checks the cache of their outputs. */
#include "recipes/train/teacher_cache.h"

#include "recipes/train/run_folder.h"
#include "recipes/train/teachers_measure.h"
#include "vision/base/memory_room.h"
#include "vision/base/threads.h"

typedef struct work {
    vsti_cache_source source;
    vsti_train_data data;
    vsti_teachers teachers;
    const volatile sig_atomic_t *stop;
    vsti_team team;
} work;

vsti_cache_data vsti_train_cache_data(const vsti_train_data *data, const vst_recipe *recipe) {
    return (vsti_cache_data){.hash = data->train_hash,
                             .view = data->view,
                             .samples = vst_dataset_count(data->train),
                             .steps = data->steps,
                             .mixed = vsti_recipe_mixes(recipe)};
}

static vst_status measure(void *user) {
    work *self = user;
    return vsti_teachers_measure(&self->teachers, self->source.recipe, &self->data, self->stop);
}

static vst_status create_loader(work *self) {
    vst_loader_options options = vsti_training_options(&self->data, self->source.recipe);
    options.drop_last = self->source.data.mixed; /* samples that one epoch omits appear in another view */
    if (options.views) options.shuffle = false;  /* by sample */
    return vst_loader_create(&self->source.loader, self->data.train, &options);
}

static vst_status open_source(work *self, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    if (!vst_recipe_cached(recipe))
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "distill.cache is not set: the folder of the cache, --set distill.cache=FOLDER"));
    VST_TRY(vsti_team_begin(&self->team, recipe->run.threads));
    VST_TRY(vsti_train_data_open(&self->data, recipe));
    VST_TRY(vsti_teachers_build(&self->teachers, recipe, false));
    VST_TRY(vsti_teachers_match(&self->teachers, &self->data.classes));
    self->source = (vsti_cache_source){.recipe = recipe,
                                       .teachers = &self->teachers,
                                       .data = vsti_train_cache_data(&self->data, recipe),
                                       .measure = measure,
                                       .user = self};
    VST_TRY(create_loader(self));
    VST_TRY(vsti_memory_check(vsti_train_data_bytes(&self->data) + vst_loader_bytes(self->source.loader) +
                                  vsti_teachers_bytes(&self->teachers),
                              "the cache", VSTI_MEMORY_ADVICE));
out:
    if (status == VST_ERROR_MEMORY) return vst_fail_in(status, VSTI_MEMORY_ADVICE " takes less memory");
    return status;
}

static void close_source(work *self) {
    vst_loader_destroy(self->source.loader);
    vsti_teachers_clear(&self->teachers);
    vsti_train_data_close(&self->data);
    vsti_team_end(&self->team);
}

/* A teacher without a model file cannot be run. */
static vst_status refuse_external(const work *self) {
    for (int i = 0; i < self->teachers.count; i++)
        if (self->teachers.list[i].external)
            return vst_fail(
                VST_ERROR_ARGUMENT,
                "distill.teacher is cache: another program computed its answers, and `vistill cache import` "
                "brings them in");
    return VST_OK;
}

vst_status vst_cache_build(const vst_recipe *recipe, const vst_cache_build_options *options, vst_cache_size *size) {
    vst_status status = VST_OK;
    work self = {.stop = options->stop};
    *size = (vst_cache_size){0};
    VST_TRY(open_source(&self, recipe));
    VST_TRY(refuse_external(&self));
    VST_TRY(vsti_make_folders(recipe->distill.cache, "distill.cache"));
    VST_TRY(vsti_cache_build(&self.source, options, size));
out:
    close_source(&self);
    return status;
}

vst_status vst_cache_check(const vst_recipe *recipe, int samples, const volatile sig_atomic_t *stop,
                           vst_cache_report *report) {
    vst_status status = VST_OK;
    work self = {.stop = stop};
    *report = (vst_cache_report){0};
    VST_TRY(open_source(&self, recipe));
    VST_TRY(vsti_cache_check(&self.source, samples, stop, report));
out:
    close_source(&self);
    return status;
}
