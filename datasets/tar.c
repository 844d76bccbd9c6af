/* Tar files, read at random through an index of positions (tar_index.h), in two layouts told by their content:
 *
 * WebDataset, if there are labels: the sample "path/key" is key.jpg (or .png …) with key.cls (a class in decimal) or
 * key.json
 * ({"label": n}). In the order of the shards. Class names come from classes.txt, one a line, beside the shards or one
 * folder above; otherwise they are numbers.
 *
 * Folders, if not: an ImageFolder in a tar, such as name/train/CLASS/…/x.jpg. Splits are folders called train, test,
 * val …, classes the folders below them, order that of imagefolder. Without split folders the classes are the folders
 * below the longest common one; if all images are in one folder, they are unlabelled.
 *
 * A sample takes 24 bytes and its name. Up to 256 shards stay open; of more each is opened when read. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "datasets/encoded.h"
#include "datasets/files.h"
#include "datasets/tar_index.h"
#include "datasets/tar_shards.h"
#include "vision/base/file.h"
#include "vision/base/lines.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { OPEN_SHARDS = 256, CLASSES_TEXT_MAX = 64 << 20 };

typedef struct tar_sample {
    uint64_t offset;
    uint32_t size, name; /* name: in the arena */
    uint32_t shard;
    int32_t label;
} tar_sample;

typedef struct tar {
    vst_dataset base;
    char *path;
    vsti_shards shards;
    int *files; /* of the shards; NULL if there are too many to keep open */
    tar_sample *samples;
    size_t count, capacity;
    char *arena;
    size_t arena_size, arena_capacity;
    bool labelled;
    uint64_t stray;
    char **names; /* of the classes */
    size_t name_count, name_capacity;
} tar;

/* ---- Reading samples ---- */

static vst_status tar_read(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label) {
    const tar *self = (const tar *)dataset;
    const tar_sample *sample = &self->samples[index];
    vst_status status = VST_OK;
    int file = self->files ? self->files[sample->shard] : -1;
    *label = sample->label;
    if (!self->files) status = vsti_file_open(self->shards.paths[sample->shard], O_RDONLY, &file, NULL);
    if (status == VST_OK) status = vsti_read_range(file, sample->offset, sample->size, bytes);
    if (!self->files && file >= 0) close(file);
    return status;
}

static void tar_name(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size) {
    const tar *self = (const tar *)dataset;
    snprintf(buffer, size, "%s", self->arena + self->samples[index].name);
}

static uint64_t tar_size(const vst_dataset *dataset, uint64_t index, int *label) {
    const tar_sample *sample = &((const tar *)dataset)->samples[index];
    *label = sample->label;
    return sample->size;
}

static vst_status tar_hash(const vst_dataset *dataset, uint64_t *hash) {
    vsti_encoded_hash(dataset, tar_size, hash);
    return VST_OK;
}

static void tar_close(vst_dataset *dataset) {
    tar *self = (tar *)dataset;
    for (size_t i = 0; self->files && i < self->shards.count; i++)
        if (self->files[i] >= 0) close(self->files[i]);
    vst_free(self->files);
    vsti_shards_clear(&self->shards);
    vsti_names_free(self->names, self->name_count);
    vst_free(self->samples);
    vst_free(self->arena);
    vst_free(self->path);
    vst_free(self);
}

static const vst_dataset_methods tar_methods = {
    .read_bytes = tar_read, .name = tar_name, .hash = tar_hash, .close = tar_close};

/* ---- Indices ---- */

static vst_status add_index(tar *self, const vsti_tar_index *index, uint32_t shard) {
    if (self->arena_size + index->arena_size > UINT32_MAX || self->count + index->count > UINT32_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s: more than 4 GiB of names or 2^32 samples", self->base.path);
    vst_status status = VST_OK;
    VST_TRY(vst_grow(&self->arena, &self->arena_capacity, self->arena_size + index->arena_size, 1));
    VST_TRY(vst_grow(&self->samples, &self->capacity, self->count + index->count, sizeof *self->samples));
    for (size_t i = 0; i < index->count; i++) {
        const vsti_tar_entry *entry = &index->entries[i];
        self->samples[self->count++] =
            (tar_sample){entry->offset, entry->size, entry->name + (uint32_t)self->arena_size, shard, entry->label};
    }
    if (index->arena_size) memcpy(self->arena + self->arena_size, index->arena, index->arena_size);
    self->arena_size += index->arena_size;
    self->stray += index->stray;
    self->labelled |= index->labelled;
out:
    return status;
}

static vst_status read_shards(tar *self) {
    vst_status status = VST_OK;
    if (self->shards.count <= OPEN_SHARDS) {
        self->files = vst_alloc(self->shards.count * sizeof *self->files);
        if (!self->files) return vst_fail_memory(self->shards.count * sizeof *self->files);
        for (size_t i = 0; i < self->shards.count; i++) self->files[i] = -1;
    }
    for (size_t i = 0; status == VST_OK && i < self->shards.count; i++) {
        vsti_tar_index index = {0};
        int file = -1;
        status = vsti_file_open(self->shards.paths[i], O_RDONLY, &file, NULL);
        if (status == VST_OK) status = vsti_tar_index_read(&index, self->shards.paths[i], file);
        if (status == VST_OK) status = add_index(self, &index, (uint32_t)i);
        vsti_tar_index_clear(&index);
        if (self->files) self->files[i] = file;
        else if (file >= 0) close(file);
    }
    return status;
}

/* ---- Class names ---- */

static vst_status add_name(tar *self, const char *name, size_t length) {
    if (self->name_count >= VSTI_CLASSES_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s: more than %d classes", self->base.path, VSTI_CLASSES_MAX);
    vst_status status = vst_grow(&self->names, &self->name_capacity, self->name_count + 1, sizeof *self->names);
    if (status != VST_OK) return status;
    self->names[self->name_count] = vst_format("%.*s", (int)length, name);
    if (!self->names[self->name_count]) return vst_fail_memory(length);
    self->name_count++;
    return VST_OK;
}

/* Adds one name per line. */
static vst_status add_lines(tar *self, const char *path) {
    vst_bytes text = {0};
    size_t length;
    vst_status status = vsti_read_file(AT_FDCWD, path, &text);
    if (status == VST_OK && text.size > CLASSES_TEXT_MAX)
        status = vst_fail(VST_ERROR_LIMIT, "%zu bytes of names", text.size);
    vst_lines lines = vst_lines_of((const char *)text.data, status == VST_OK ? text.size : 0);
    for (const char *line; status == VST_OK && vst_lines_next(&lines, &line, &length);)
        status = add_name(self, line, length < PATH_MAX ? length : PATH_MAX);
    vst_bytes_clear(&text);
    return status == VST_OK ? status : vst_fail_in(status, "%s", path);
}

/* Reads classes.txt beside the first shard or one folder above it, if it exists. */
static vst_status read_names(tar *self) {
    const char *first = self->shards.paths[0], *slash = strrchr(first, '/');
    const int length = slash ? (int)(slash - first) + 1 : 0;
    vst_status status = VST_OK;
    for (int i = 0; i < 2 && status == VST_OK && self->name_count == 0; i++) {
        char *path = vst_format("%.*s%sclasses.txt", length, first, i ? "../" : "");
        if (!path) return vst_fail_memory((size_t)length);
        if (access(path, F_OK) == 0) status = add_lines(self, path);
        vst_free(path);
    }
    return status;
}

static vst_status copy_names(tar *self, const vst_dataset *other) {
    vst_status status = VST_OK;
    for (int i = 0; status == VST_OK && i < other->classes; i++)
        status = add_name(self, other->class_names[i], strlen(other->class_names[i]));
    return status;
}

/* ---- WebDataset ---- */

static vst_status check_label(const tar *self, const tar_sample *sample) {
    if (sample->label < 0)
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: %s has no label (no .cls, no \"label\" in a .json) while other images have one",
                        self->shards.paths[sample->shard], self->arena + sample->name);
    if (sample->label < (int32_t)self->name_count) return VST_OK;
    return vst_fail(VST_ERROR_FORMAT,
                    "%s: %s has label %d, but there are %zu classes (by classes.txt or the training split)",
                    self->shards.paths[sample->shard], self->arena + sample->name, sample->label, self->name_count);
}

/* Keeps the samples and checks their labels. `train`: the training split, whose class names are used; NULL: use
 * classes.txt or numbers. */
static vst_status arrange_samples(tar *self, const vst_dataset *train) {
    vst_status status = VST_OK;
    size_t kept = 0;
    int32_t most = -1;
    char number[16];
    for (size_t i = 0; i < self->count; i++) {
        if (self->samples[i].label == VSTI_TAR_EXTRA) continue;
        self->samples[kept++] = self->samples[i];
        if (self->samples[i].label > most) most = self->samples[i].label;
    }
    self->count = kept;
    VST_TRY(read_names(self));
    if (self->name_count == 0 && train) VST_TRY(copy_names(self, train));
    const bool numbers = self->name_count == 0;
    for (int32_t i = 0; numbers && i <= most; i++)
        VST_TRY(add_name(self, number, (size_t)snprintf(number, sizeof number, "%d", i)));
    for (size_t i = 0; i < self->count; i++) VST_TRY(check_label(self, &self->samples[i]));
out:
    return status;
}

/* ---- Folders ---- */

/* The rest of the path after a folder with the name of a split, if a class folder and a file follow; *word is that
 * name. */
static const char *behind_split(const char *path, const char **word) {
    static const char *const splits[] = {"train", "test"};
    for (const char *part = path, *slash; (slash = strchr(part, '/')); part = slash + 1) {
        if (!strchr(slash + 1, '/')) return NULL; /* no class folder can follow */
        for (int i = 0; i < 2; i++)
            for (const char *const *w = vsti_split_words(splits[i]); *w; w++)
                if (strlen(*w) == (size_t)(slash - part) && strncasecmp(*w, part, (size_t)(slash - part)) == 0) {
                    *word = *w;
                    return slash + 1;
                }
    }
    return NULL;
}

/* The split's most preferred name that occurs in a path. *any: whether a name of any split occurs. */
static const char *best_word(const tar *self, const char *split, bool *any) {
    const char *const *words = vsti_split_words(split), *found;
    size_t best = SIZE_MAX;
    *any = false;
    for (size_t i = 0; i < self->count; i++) {
        if (!behind_split(self->arena + self->samples[i].name, &found)) continue;
        *any = true;
        for (size_t k = 0; words[k] && k < best; k++)
            if (strcmp(words[k], found) == 0) best = k;
    }
    return best == SIZE_MAX ? NULL : words[best];
}

/* Removes the longest common folder from all names. */
static void cut_common(tar *self) {
    const char *first = self->arena + self->samples[0].name, *slash = strrchr(first, '/');
    size_t common = slash ? (size_t)(slash - first) + 1 : 0;
    for (size_t i = 1; i < self->count; i++) {
        const char *name = self->arena + self->samples[i].name;
        size_t same = 0;
        while (same < common && name[same] == first[same]) same++;
        while (same > 0 && first[same - 1] != '/') same--;
        common = same;
    }
    for (size_t i = 0; i < self->count; i++) self->samples[i].name += (uint32_t)common;
}

/* torchvision's order: by class, folder and file name, each compared by bytes. */
static int compare_part(const char *a, size_t a_size, const char *b, size_t b_size) {
    const int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int by_place(const void *a, const void *b, void *arena) {
    const tar_sample *first = a, *second = b;
    const char *x = (const char *)arena + first->name, *y = (const char *)arena + second->name;
    const char *x_file = strrchr(x, '/'), *y_file = strrchr(y, '/');
    int order = compare_part(x, strcspn(x, "/"), y, strcspn(y, "/"));
    if (!x_file || !y_file) return order;
    if (!order) order = compare_part(x, (size_t)(x_file - x), y, (size_t)(y_file - y));
    if (!order) order = strcmp(x_file, y_file);
    if (!order)
        order = first->shard != second->shard ? (first->shard > second->shard ? 1 : -1)
                                              : (first->offset > second->offset) - (first->offset < second->offset);
    return order;
}

/* Adds the classes of sorted samples. */
static vst_status collect_names(tar *self, const tar_sample *samples, size_t count) {
    vst_status status = VST_OK;
    for (size_t i = 0; status == VST_OK && i < count; i++) {
        const char *name = self->arena + samples[i].name,
                   *last = self->name_count ? self->names[self->name_count - 1] : "";
        const size_t length = strcspn(name, "/");
        if (self->name_count == 0 || strlen(last) != length || memcmp(last, name, length) != 0)
            status = add_name(self, name, length);
    }
    return status;
}

static int name_to_text(const void *key, const void *element) {
    const char *path = key, *name = *(char *const *)element;
    return compare_part(path, strcspn(path, "/"), name, strlen(name));
}

static vst_status set_labels(tar *self) {
    for (size_t i = 0; i < self->count; i++) {
        const char *name = self->arena + self->samples[i].name;
        char **found = bsearch(name, self->names, self->name_count, sizeof *self->names, name_to_text);
        if (!found)
            return vst_fail(VST_ERROR_FORMAT,
                            "%s: class \"%.*s\" is not in the training split: both must have the same classes",
                            self->base.path, (int)strcspn(name, "/"), name);
        self->samples[i].label = (int32_t)(found - self->names);
    }
    return VST_OK;
}

/* Moves the samples of split folder `word` to the front, sorts them and shortens their names to class/…/file. Returns
 * their number. */
static size_t take_split(tar *self, const char *word) {
    size_t kept = 0;
    for (size_t i = 0; word && i < self->count; i++) {
        const char *found, *rest = behind_split(self->arena + self->samples[i].name, &found);
        if (!rest || strcmp(found, word) != 0) continue;
        const tar_sample moved = self->samples[i];
        self->samples[i] = self->samples[kept];
        self->samples[kept] = moved;
        self->samples[kept++].name = (uint32_t)(rest - self->arena);
    }
    if (kept) qsort_r(self->samples, kept, sizeof *self->samples, by_place, self->arena);
    return kept;
}

/* A training split in the same tars is examined first, because it defines the classes. */
static vst_status arrange_splits(tar *self, const char *split, const char *word) {
    vst_status status = VST_OK;
    bool any;
    if (strcmp(split, "test") == 0) {
        const size_t train = take_split(self, best_word(self, "train", &any));
        VST_TRY(collect_names(self, self->samples, train));
        self->count -= train; /* the other samples */
        if (train) memmove(self->samples, self->samples + train, self->count * sizeof *self->samples);
    }
    self->count = take_split(self, word);
    if (self->name_count == 0) VST_TRY(collect_names(self, self->samples, self->count));
    self->base.whole = false;
    VST_TRY(set_labels(self));
out:
    return status;
}

/* For tars without split folders; `train` as for arrange_samples. */
static vst_status arrange_classes(tar *self, const vst_dataset *train) {
    vst_status status = VST_OK;
    size_t kept = 0;
    cut_common(self);
    for (size_t i = 0; i < self->count; i++)
        if (strchr(self->arena + self->samples[i].name, '/')) self->samples[kept++] = self->samples[i];
    if (kept) self->count = kept; /* files beside class folders have no class */
    else
        for (size_t i = 0; i < self->count; i++) self->samples[i].label = -1;
    qsort_r(self->samples, self->count, sizeof *self->samples, by_place, self->arena);
    if (!kept) return VST_OK;
    if (train) VST_TRY(copy_names(self, train));
    else VST_TRY(collect_names(self, self->samples, self->count));
    VST_TRY(set_labels(self));
out:
    return status;
}

/* ---- Opening ---- */

static vst_status open_tar(vst_dataset **out, const char *path, const char *split);

/* ---- One tar for each class ---- */

/* "n01440764.tar": the name of a class, and not of a shard, has no number but that of WordNet. */
static bool is_class_tar(const char *path, bool whole) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t length = strlen(name), digits = strspn(name + (*name == 'n'), "0123456789");
    return (*name == 'n' && digits == 8 && length == 13) || (whole && strcspn(name, "0123456789") == length);
}

/* Of tars as ImageNet's training images come in, without folders and labels inside, the file's name is the class. */
static bool are_classes(const tar *self) {
    bool all = !self->labelled && self->shards.count > 1;
    for (size_t i = 0; all && i < self->shards.count; i++)
        all = is_class_tar(self->shards.paths[i], self->shards.whole);
    for (size_t i = 0; all && i < self->count; i++) all = !strchr(self->arena + self->samples[i].name, '/');
    return all;
}

/* Names become CLASS/file, as in class folders. */
static vst_status prefix_names(tar *self) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < self->count; i++) {
        const char *path = self->shards.paths[self->samples[i].shard], *slash = strrchr(path, '/');
        const char *class = slash ? slash + 1 : path;
        const size_t length = strlen(class) - strlen(".tar"), name = strlen(self->arena + self->samples[i].name),
                     size = length + name + 2;
        if (self->arena_size + size > UINT32_MAX)
            VST_TRY(vst_fail(VST_ERROR_LIMIT, "%s: more than 4 GiB of names", self->base.path));
        VST_TRY(vst_grow(&self->arena, &self->arena_capacity, self->arena_size + size, 1));
        char *out = self->arena + self->arena_size;
        memcpy(out, class, length);
        out[length] = '/';
        memcpy(out + length + 1, self->arena + self->samples[i].name, name + 1);
        self->samples[i].name = (uint32_t)self->arena_size;
        self->arena_size += size;
    }
out:
    return status;
}

static vst_status arrange(tar *self, const char *path, const char *split) {
    vst_status status = VST_OK;
    vst_dataset *train = NULL;
    bool any = false;
    if (self->stray)
        vst_log(VST_LOG_INFO, "%s: %llu files of other systems (._*, .DS_Store, Thumbs.db …) are passed over",
                self->base.path, (unsigned long long)self->stray);
    if (are_classes(self)) VST_TRY(prefix_names(self));
    const char *word = self->labelled ? NULL : best_word(self, split, &any);
    if (any && !word && self->shards.whole)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: no folder of the split \"%s\" found", self->base.path, split));
    if (!word && !self->shards.whole && strcmp(split, "test") == 0) {
        status = open_tar(&train, path, "train");
        if (status != VST_OK && status != VST_ERROR_NOT_FOUND) goto out;
    }
    if (self->labelled) VST_TRY(arrange_samples(self, train));
    else if (word) VST_TRY(arrange_splits(self, split, word));
    else VST_TRY(arrange_classes(self, train));
    if (self->count == 0)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: none of its images belongs to a sample", self->base.path));
    self->base.count = self->count;
    self->base.classes = (int)self->name_count;
    self->base.class_names = (const char *const *)self->names;
out:
    vst_dataset_close(train);
    return status;
}

static vst_status open_tar(vst_dataset **out, const char *path, const char *split) {
    vst_status status = VST_OK;
    tar *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->base = (vst_dataset){.methods = &tar_methods, .channels = 3};
    self->base.path = self->path = vst_strdup(path);
    if (!self->path) VST_TRY(vst_fail_memory(strlen(path)));
    VST_TRY(vsti_shards_find(&self->shards, path, split));
    self->base.whole = self->shards.whole;
    VST_TRY(read_shards(self));
    if (self->count == 0)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: no image files (.jpg, .jpeg, .png …) are in it", path));
    VST_TRY(arrange(self, path, split));
    *out = &self->base;
    self = NULL;
out:
    if (self) tar_close(&self->base);
    return status;
}

extern const vst_dataset_format vsti_dataset_format_tar;
const vst_dataset_format vsti_dataset_format_tar = {
    .name = "tar",
    .help = "WebDataset shards or an image folder in tars: NAME.tar, NAME-{000000..000146}.tar, or a folder of them",
    .probe = vsti_shards_probe,
    .open = open_tar,
};
