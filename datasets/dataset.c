/* The interface of data sets: finding the format, passing calls on, and views. */
#include "datasets/dataset.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/image/decode.h"

/* "idx (IDX files …), tar (…)" */
static const char *list_formats(char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < vsti_dataset_format_count && used < size; i++) {
        const vst_dataset_format *format = vsti_dataset_format_table[i];
        used += (size_t)snprintf(text + used, size - used, "%s%s (%s)", i ? ", " : "", format->name, format->help);
    }
    return text;
}

/* A path that no format knows is first of all one that is not there. */
static vst_status find_format(const char *path, const char *name, const vst_dataset_format **out) {
    char known[2048];
    for (size_t i = 0; i < vsti_dataset_format_count; i++) {
        const vst_dataset_format *format = vsti_dataset_format_table[i];
        if (name ? strcmp(format->name, name) == 0 : format->probe(path)) {
            *out = format;
            return VST_OK;
        }
    }
    if (name)
        return vst_fail(VST_ERROR_ARGUMENT, "there is no data set format '%s'; there are: %s", name,
                        list_formats(known, sizeof known));
    if (access(path, R_OK) != 0)
        return vst_fail(errno == ENOENT ? VST_ERROR_NOT_FOUND : VST_ERROR_IO, "%s: cannot read the data set: %s", path,
                        strerror(errno));
    return vst_fail(VST_ERROR_FORMAT, "%s: no known data set format is found there; there are: %s", path,
                    list_formats(known, sizeof known));
}

vst_status vst_dataset_open(vst_dataset **out, const char *path, const char *split,
                            const vst_dataset_options *options) {
    static const vst_dataset_options defaults = {0};
    const vst_dataset_format *found = NULL;
    *out = NULL;
    if (!options) options = &defaults;
    if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0)
        return vst_fail(VST_ERROR_ARGUMENT, "there is no split '%s'; there are: train, test", split);
    if (options->channels != 0 && options->channels != 1 && options->channels != 3)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: images of %d channels asked for, it must be 1 or 3", path,
                        options->channels);
    vst_status status = find_format(path, options->format, &found);
    if (status == VST_OK) status = found->open(out, path, split);
    if (status != VST_OK) return status;
    if (options->channels) (*out)->channels = options->channels;
    (*out)->limits = options->limits;
    return VST_OK;
}

void vst_dataset_close(vst_dataset *dataset) {
    if (dataset) dataset->methods->close(dataset);
}

uint64_t vst_dataset_count(const vst_dataset *dataset) { return dataset->count; }
int vst_dataset_classes(const vst_dataset *dataset) { return dataset->classes; }
int vst_dataset_channels(const vst_dataset *dataset) { return dataset->channels; }
const char *vst_dataset_path(const vst_dataset *dataset) { return dataset->path; }
bool vst_dataset_has_no_splits(const vst_dataset *dataset) { return dataset->whole; }
const vst_image_limits *vst_dataset_limits(const vst_dataset *dataset) { return dataset->limits; }

const char *vst_dataset_class_name(const vst_dataset *dataset, int index) {
    return index >= 0 && index < dataset->classes ? dataset->class_names[index] : NULL;
}

bool vst_dataset_is_broken(vst_status status) {
    return status == VST_ERROR_IO || status == VST_ERROR_FORMAT || status == VST_ERROR_LIMIT ||
           status == VST_ERROR_NOT_FOUND || status == VST_ERROR_UNSUPPORTED;
}

vst_status vst_dataset_hash(const vst_dataset *dataset, uint64_t *hash) {
    return dataset->methods->hash(dataset, hash);
}

/* ---- Views ---- */

/* Elements first … first + count - 1 of a seeded permutation of the parent. */
typedef struct view {
    vst_dataset base;
    const vst_dataset *parent;
    uint64_t seed, first;
} view;

static vst_status view_hash(const vst_dataset *dataset, uint64_t *hash) {
    const view *self = (const view *)dataset;
    uint64_t parts[4] = {0, self->seed, self->first, self->base.count};
    vst_status status = vst_dataset_hash(self->parent, &parts[0]);
    if (status == VST_OK) *hash = XXH3_64bits(parts, sizeof parts);
    return status;
}

static void view_close(vst_dataset *dataset) { vst_free(dataset); }

static const vst_dataset_methods view_methods = {.hash = view_hash, .close = view_close};

/* The data set behind all views, and the sample's index there. */
static const vst_dataset *behind_views(const vst_dataset *dataset, uint64_t *index) {
    while (dataset->methods == &view_methods) {
        const view *self = (const view *)dataset;
        dataset = self->parent;
        *index = vst_random_permute(self->seed, 0, dataset->count, self->first + *index);
    }
    return dataset;
}

/* The purpose is part of the seed: a split and a sample with the same seed, or the loader's first epoch, must not
 * coincide. */
static vst_status view_create(vst_dataset **out, const vst_dataset *parent, const char *purpose, uint64_t seed,
                              uint64_t first, uint64_t count) {
    view *self = vst_alloc(sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    *self = (view){.base = *parent, .parent = parent, .seed = seed ^ vst_random_id(purpose), .first = first};
    self->base.methods = &view_methods;
    self->base.count = count;
    *out = &self->base;
    return VST_OK;
}

vst_status vst_dataset_split(const vst_dataset *dataset, uint64_t validation_count, uint64_t seed, vst_dataset **train,
                             vst_dataset **validation) {
    *train = *validation = NULL;
    if (validation_count < 1 || validation_count >= dataset->count)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: %llu samples for validation, it must be 1 to %llu (one less than all)",
                        dataset->path, (unsigned long long)validation_count, (unsigned long long)dataset->count - 1);
    vst_status status = view_create(validation, dataset, "dataset.split", seed, 0, validation_count);
    if (status != VST_OK) return status;
    status = view_create(train, dataset, "dataset.split", seed, validation_count, dataset->count - validation_count);
    if (status == VST_OK) return VST_OK;
    vst_dataset_close(*validation);
    *validation = NULL;
    return status;
}

vst_status vst_dataset_sample(const vst_dataset *dataset, uint64_t count, uint64_t seed, vst_dataset **out) {
    *out = NULL;
    if (count < 1 || count > dataset->count)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: %llu samples asked for, it must be 1 to %llu", dataset->path,
                        (unsigned long long)count, (unsigned long long)dataset->count);
    return view_create(out, dataset, "dataset.sample", seed, 0, count);
}

/* ---- Samples ---- */

static vst_status check_index(const vst_dataset *dataset, uint64_t index) {
    if (index < dataset->count) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "%s: sample %llu asked for, there are %llu", dataset->path,
                    (unsigned long long)index, (unsigned long long)dataset->count);
}

char *vst_dataset_sample_name(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size) {
    dataset = behind_views(dataset, &index);
    if (dataset->methods->name) dataset->methods->name(dataset, index, buffer, size);
    else snprintf(buffer, size, "sample %llu", (unsigned long long)index);
    return buffer;
}

/* Puts data set and sample before the error's text. */
static vst_status name_sample(vst_status status, const vst_dataset *dataset, uint64_t index) {
    char name[PATH_MAX];
    if (status == VST_OK) return status;
    return vst_fail_in(status, "%s: %s", dataset->path, vst_dataset_sample_name(dataset, index, name, sizeof name));
}

void vst_bytes_clear(vst_bytes *bytes) {
    vst_free(bytes->data);
    *bytes = (vst_bytes){0};
}

vst_status vst_bytes_resize(vst_bytes *bytes, size_t size) {
    vst_status status = vst_grow(&bytes->data, &bytes->capacity, size, 1);
    if (status == VST_OK) bytes->size = size;
    return status;
}

/* Of a format that gives image files. */
static vst_status read_encoded(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    vst_bytes bytes = {0};
    const vst_decode_options options = {.channels = dataset->channels, .limits = dataset->limits};
    vst_status status = dataset->methods->read_bytes(dataset, index, &bytes, label);
    if (status == VST_OK) status = vst_image_decode(bytes.data, bytes.size, &options, image, NULL);
    vst_bytes_clear(&bytes);
    return status;
}

vst_status vst_dataset_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    vst_status status = check_index(dataset, index);
    if (status != VST_OK) return status;
    const int channels = dataset->channels;
    dataset = behind_views(dataset, &index);
    status = dataset->methods->read ? dataset->methods->read(dataset, index, image, label)
                                    : read_encoded(dataset, index, image, label);
    if (status == VST_OK) status = vst_image_convert(image, channels);
    return name_sample(status, dataset, index);
}

bool vst_dataset_encoded(const vst_dataset *dataset) {
    uint64_t index = 0;
    return behind_views(dataset, &index)->methods->read_bytes != NULL;
}

vst_status vst_dataset_read_bytes(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label) {
    vst_status status = check_index(dataset, index);
    if (status != VST_OK) return status;
    dataset = behind_views(dataset, &index);
    if (!dataset->methods->read_bytes)
        return vst_fail(VST_ERROR_UNSUPPORTED, "%s: its samples are stored as pixels, not as image files",
                        dataset->path);
    return name_sample(dataset->methods->read_bytes(dataset, index, bytes, label), dataset, index);
}
