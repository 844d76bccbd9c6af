/* Lists of augmentation policies: parsing and applying. */
#include "datasets/augment/augment.h"

#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"

typedef struct step {
    const vst_augmentation *policy;
    void *options; /* owned */
    uint64_t stream; /* the operation of vst_random_stream */
} step;

struct vst_augment {
    step *steps;
    size_t count, capacity;
};

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
                                 option->name, option->help, option->fallback ? option->fallback : "none");
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

vst_status vst_augment_create(vst_augment **out, const char *text) {
    *out = NULL;
    char *copy = vst_strdup(text);
    vst_augment *self = copy ? vst_calloc(1, sizeof *self) : NULL;
    vst_status status = self ? parse(self, copy) : vst_fail_memory(strlen(text) + sizeof *self);
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

vst_status vst_augment_apply(const vst_augment *self, uint64_t seed, uint32_t epoch, uint64_t sample,
                             vst_image *image) {
    for (size_t i = 0; self && i < self->count; i++) {
        const step *current = &self->steps[i];
        vst_random random = vst_random_stream(seed, current->stream, epoch, sample);
        vst_status status = current->policy->apply(current->options, &random, image);
        if (status != VST_OK) return vst_fail_in(status, "augmentation %s", current->policy->name);
    }
    return VST_OK;
}
