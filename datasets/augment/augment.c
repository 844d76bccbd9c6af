/* Lists of augmentation policies: parsing and applying. */
#include "datasets/augment/augment.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "vision/base/memory.h"
#include "vision/image/geometry.h"

typedef struct step {
    const vst_augmentation *policy;
    void *options;   /* owned */
    uint64_t stream; /* the operation of vst_random_stream */
} step;

struct vst_augment {
    step *steps;
    size_t count, capacity;
    uint64_t hash;
};

void vst_augment_scratch_clear(vst_augment_scratch *scratch) {
    for (int i = 0; i < VST_AUGMENT_SCRATCH; i++) vst_image_clear(&scratch->images[i]);
}

static vst_status unknown_policy(const char *name) {
    char known[1024] = "";
    size_t used = 0;
    for (size_t i = 0; i < vsti_augmentation_count && used < sizeof known; i++) {
        const vst_augmentation *policy = vsti_augmentation_table[i];
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s (%s)", i ? ", " : "", policy->name, policy->help);
    }
    return vst_fail(VST_ERROR_ARGUMENT, "there is no augmentation '%s'; there are: %s", name, known);
}

static vst_status add_step(vst_augment *self, const char *name) {
    const vst_augmentation *policy = NULL;
    for (size_t i = 0; i < vsti_augmentation_count; i++)
        if (strcmp(vsti_augmentation_table[i]->name, name) == 0) policy = vsti_augmentation_table[i];
    if (!policy) return unknown_policy(name);
    const vst_augmentation *last = self->count ? self->steps[self->count - 1].policy : NULL;
    if (last && last->apply_floats && !policy->apply_floats)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augmentation %s works on images and %s on what they are converted to: put %s before it", name,
                        last->name, name);
    vst_status status = vst_grow(&self->steps, &self->capacity, self->count + 1, sizeof *self->steps);
    if (status != VST_OK) return status;
    char id[64];
    snprintf(id, sizeof id, "augment.%s", name);
    uint64_t stream = vst_random_id(id);
    for (size_t i = 0; i < self->count; i++) stream += self->steps[i].policy == policy;
    void *options = vst_calloc(1, policy->options_size);
    if (!options) return vst_fail_memory(policy->options_size);
    self->steps[self->count++] = (step){policy, options, stream};
    return vst_options_default(policy->options, options);
}

/* Cuts at the first `separator`: returns the part before it without blanks around, *rest is what follows or NULL. */
static char *take_part(char *text, char separator, char **rest) {
    static const char blanks[] = " \t\r\n";
    char *end = strchr(text, separator);
    *rest = end ? end + 1 : NULL;
    if (end) *end = '\0';
    text += strspn(text, blanks);
    size_t length = strlen(text);
    while (length > 0 && strchr(blanks, text[length - 1])) text[--length] = '\0';
    return text;
}

/* "key=value" for the last step. */
static vst_status set_option(const vst_augment *self, char *text) {
    const step *last = &self->steps[self->count - 1];
    char *rest, *key = take_part(text, '=', &rest);
    if (!rest)
        return vst_fail(VST_ERROR_ARGUMENT, "augmentation %s: '%s' must be written option=value", last->policy->name,
                        key);
    vst_status status = vst_options_set(last->policy->options, last->options, key, take_part(rest, '\0', &rest));
    if (status == VST_OK) return status;
    char known[512] = "";
    size_t used = 0;
    for (const vst_option *option = last->policy->options; option->name && used < sizeof known; option++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s (%s, default %s)", used ? ", " : "",
                                 option->name, option->help, option->default_value ? option->default_value : "none");
    char cause[1024];
    snprintf(cause, sizeof cause, "%s", vst_error_message());
    return vst_fail(status, "augmentation %s: %s; its options: %s", last->policy->name, cause, known);
}

static vst_status parse(vst_augment *self, char *text) {
    vst_status status = VST_OK;
    char *part = take_part(text, '\0', &text);
    if (!*part || strcmp(part, "none") == 0) return VST_OK;
    for (char *rest = part; rest;) {
        char *policy = take_part(rest, ',', &rest);
        VST_TRY(add_step(self, take_part(policy, ':', &policy)));
        while (policy) VST_TRY(set_option(self, take_part(policy, ':', &policy)));
    }
out:
    return status;
}

static vst_status check_steps(const vst_augment *self) {
    for (size_t i = 0; i < self->count; i++) {
        const step *current = &self->steps[i];
        const vst_status status = current->policy->check ? current->policy->check(current->options) : VST_OK;
        if (status != VST_OK) return vst_fail_in(status, "augmentation %s", current->policy->name);
    }
    return VST_OK;
}

/* Over names and values of all options, given or default. */
static vst_status hash_steps(vst_augment *self) {
    for (size_t i = 0; i < self->count; i++) {
        const step *current = &self->steps[i];
        self->hash = XXH3_64bits_withSeed(current->policy->name, strlen(current->policy->name), self->hash);
        for (const vst_option *option = current->policy->options; option->name; option++) {
            char *value = vst_options_get(option, current->options);
            if (!value) return vst_fail_memory(64);
            self->hash = XXH3_64bits_withSeed(option->name, strlen(option->name), self->hash);
            self->hash = XXH3_64bits_withSeed(value, strlen(value), self->hash);
            vst_free(value);
        }
    }
    return VST_OK;
}

uint64_t vst_augment_hash(const vst_augment *self) { return self ? self->hash : 0; }

vst_status vst_augment_create(vst_augment **out, const char *text) {
    *out = NULL;
    char *copy = vst_strdup(text);
    vst_augment *self = copy ? vst_calloc(1, sizeof *self) : NULL;
    vst_status status = self ? parse(self, copy) : vst_fail_memory(strlen(text) + sizeof *self);
    if (status == VST_OK) status = check_steps(self);
    if (status == VST_OK) status = hash_steps(self);
    vst_free(copy);
    if (status == VST_OK) *out = self;
    else vst_augment_destroy(self);
    return status;
}

void vst_augment_destroy(vst_augment *self) {
    if (!self) return;
    for (size_t i = 0; i < self->count; i++) {
        vst_options_clear(self->steps[i].policy->options, self->steps[i].options);
        vst_free(self->steps[i].options);
    }
    vst_free(self->steps);
    vst_free(self);
}

static vst_random stream_of(const step *current, const vst_augment_view *view) {
    /* Any odd constant keeps the streams of copies and of repeated policies apart; copy 0 has the policy's own. */
    const uint64_t operation = current->stream + view->copy * UINT64_C(0x9E3779B97F4A7C15);
    return vst_random_stream(view->seed, operation, view->epoch, view->sample);
}

bool vst_augment_has_crop(const vst_augment *self) { return self && self->count > 0 && self->steps[0].policy->crop; }

void vst_augment_begin(const vst_augment *self, vst_augment_view view, int height, int width, vst_augment_state *state,
                       vst_box *part) {
    *state = (vst_augment_state){.view = view, .cropped = vst_augment_has_crop(self)};
    *part = (vst_box){0, 0, height, width};
    if (!state->cropped) return;
    const step *first = &self->steps[0];
    state->random = stream_of(first, &view);
    first->policy->crop(first->options, &state->random, height, width, part);
}

static vst_status apply_step(const step *current, vst_augment_state *state, bool cropped, vst_image *image,
                             vst_augment_scratch *scratch) {
    const vst_augmentation *policy = current->policy;
    vst_status status = VST_OK;
    vst_random random = cropped ? state->random : stream_of(current, &state->view);
    if (policy->crop && !cropped) {
        vst_box part = {0, 0, image->height, image->width};
        policy->crop(current->options, &random, image->height, image->width, &part);
        status = vst_image_crop(image, part, image);
    }
    if (status == VST_OK && policy->apply) status = policy->apply(current->options, &random, image, scratch);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "augmentation %s", policy->name);
}

vst_status vst_augment_image(const vst_augment *self, vst_augment_state *state, vst_image *image,
                             vst_augment_scratch *scratch) {
    vst_status status = VST_OK;
    for (size_t i = 0; self && i < self->count && status == VST_OK; i++)
        status = apply_step(&self->steps[i], state, i == 0 && state->cropped, image, scratch);
    return status;
}

void vst_augment_finish(const vst_augment *self, const vst_augment_state *state, const vst_augment_floats *sample) {
    for (size_t i = 0; self && i < self->count; i++) {
        const step *current = &self->steps[i];
        if (!current->policy->apply_floats) continue;
        vst_random random = stream_of(current, &state->view);
        current->policy->apply_floats(current->options, &random, sample);
    }
}

vst_status vst_augment_apply(const vst_augment *self, uint64_t seed, uint32_t epoch, uint64_t sample,
                             vst_image *image) {
    vst_augment_scratch scratch = {0};
    vst_augment_state state;
    vst_box part;
    vst_augment_begin(self, (vst_augment_view){.seed = seed, .sample = sample, .epoch = epoch}, image->height,
                      image->width, &state, &part);
    vst_status status = state.cropped ? vst_image_crop(image, part, image) : VST_OK;
    if (status == VST_OK) status = vst_augment_image(self, &state, image, &scratch);
    vst_augment_scratch_clear(&scratch);
    return status;
}
