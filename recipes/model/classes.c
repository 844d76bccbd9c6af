/* Matching classes: by name, as classes of ImageNet-1k, or by position. */
#include "recipes/model/classes.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/model/imagenet.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { LISTED = 5 }; /* names in a message */

vst_classes vst_model_classes(const vst_model *model, const char *what) {
    return (vst_classes){(const char *const *)model->class_names, model->class_count, what};
}

vst_classes vst_dataset_class_list(const vst_dataset *dataset) {
    return (vst_classes){dataset->class_names, dataset->classes, dataset->path};
}

bool vst_classes_unnamed(const vst_classes *classes) {
    char number[16];
    for (int i = 0; i < classes->count; i++) {
        snprintf(number, sizeof number, "%d", i);
        if (strcmp(classes->names[i], number) != 0) return false;
    }
    return true;
}

/* ---- ImageNet-1k ---- */

/* One spelling for "Great_white_shark, white shark" and "great white shark". */
static void simplify(const char *name, char *out, size_t size) {
    size_t used = 0;
    for (; name[used] && name[used] != ',' && used + 1 < size; used++)
        out[used] = name[used] == '_' ? ' ' : (char)tolower((unsigned char)name[used]);
    out[used] = '\0';
}

static int by_number(const void *key, const void *element) {
    return strcmp(key, ((const vsti_imagenet_class *)element)->number);
}

/* The index of a class of ImageNet-1k, -1 if it is none. */
static int imagenet_index(const char *name) {
    char wanted[64], known[64];
    const vsti_imagenet_class *found = bsearch(name, vsti_imagenet, VSTI_IMAGENET_CLASSES, sizeof *found, by_number);
    if (found) return (int)(found - vsti_imagenet);
    if (isdigit((unsigned char)*name)) return -1;
    simplify(name, wanted, sizeof wanted);
    for (int i = 0; i < VSTI_IMAGENET_CLASSES; i++) {
        simplify(vsti_imagenet[i].name, known, sizeof known);
        if (strcmp(wanted, known) == 0) return i;
    }
    return -1;
}

/* ---- By name ---- */

/* The classes of one side, to be found. */
typedef struct finder {
    const vst_classes *classes;
    int *sorted;                         /* indices in the order of their names */
    int imagenet[VSTI_IMAGENET_CLASSES]; /* index of each class of ImageNet-1k, -1: it is not there */
    bool has_imagenet;                   /* the array is filled: when it is first asked for */
} finder;

static int by_name(const void *a, const void *b, void *user) {
    const char *const *names = user;
    const int i = *(const int *)a, k = *(const int *)b, order = strcmp(names[i], names[k]);
    return order ? order : (i > k) - (i < k);
}

static vst_status finder_create(finder *self, const vst_classes *classes) {
    self->classes = classes;
    self->sorted = vst_alloc(((size_t)classes->count + 1) * sizeof *self->sorted);
    if (!self->sorted) return vst_fail_memory((size_t)classes->count * sizeof *self->sorted);
    for (int i = 0; i < classes->count; i++) self->sorted[i] = i;
    if (classes->count)
        qsort_r(self->sorted, (size_t)classes->count, sizeof *self->sorted, by_name, (void *)classes->names);
    return VST_OK;
}

/* Of two classes with one name, that at `place` if it is one of them, else none is meant: -1. */
static int find_name(const finder *self, const char *name, int place) {
    int low = 0, high = self->classes->count;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (strcmp(self->classes->names[self->sorted[middle]], name) < 0) low = middle + 1;
        else high = middle;
    }
    int found = -1, count = 0;
    for (int i = low; i < self->classes->count && strcmp(self->classes->names[self->sorted[i]], name) == 0; i++) {
        if (self->sorted[i] == place) return place;
        found = self->sorted[i];
        count++;
    }
    return count == 1 ? found : -1;
}

/* Unnamed classes are taken for ImageNet's if there are 1000. */
static void fill_imagenet(finder *self) {
    const bool numbers = self->classes->count == VSTI_IMAGENET_CLASSES && vst_classes_unnamed(self->classes);
    self->has_imagenet = true;
    for (int i = 0; i < VSTI_IMAGENET_CLASSES; i++) self->imagenet[i] = numbers ? i : -1;
    for (int i = 0; !numbers && i < self->classes->count; i++) {
        const int index = imagenet_index(self->classes->names[i]);
        if (index >= 0) self->imagenet[index] = i;
    }
}

static int find_class(finder *self, const char *name, int place) {
    const int found = find_name(self, name, place);
    if (found >= 0) return found;
    const int index = imagenet_index(name);
    if (index < 0) return -1;
    if (!self->has_imagenet) fill_imagenet(self);
    return self->imagenet[index];
}

/* ---- Matching ---- */

/* "\"eel\", \"gnu\" and 7 more": the names that were not found; `map` NULL: all. */
static void list_names(const vst_classes *from, const int *map, char *text, size_t size) {
    size_t used = 0;
    int listed = 0, missing = 0;
    text[0] = '\0';
    for (int i = 0; i < from->count; i++) {
        if (map && map[i] >= 0) continue;
        missing++;
        if (listed >= LISTED || used + 1 >= size) continue;
        used += (size_t)snprintf(text + used, size - used, "%s\"%.40s\"", listed++ ? ", " : "", from->names[i]);
    }
    if (missing > listed && used + 1 < size) snprintf(text + used, size - used, " and %d more", missing - listed);
}

static vst_status match_positions(vst_class_match *match, const vst_classes *from, const vst_classes *to) {
    const bool unnamed = vst_classes_unnamed(from);
    char missing[400], known[400];
    if (unnamed ? from->count <= to->count : vst_classes_unnamed(to) && from->count == to->count) {
        match->by_position = true;
        for (int i = 0; i < from->count; i++) match->map[i] = i;
        return VST_OK;
    }
    if (unnamed)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has %d classes, %s %d: they are not the same", from->what, from->count,
                        to->what, to->count);
    list_names(from, match->map, missing, sizeof missing);
    list_names(to, NULL, known, sizeof known);
    if (vst_classes_unnamed(to))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "%s has the %d classes %s, but %s has %d without names, so nothing says which is which: "
                        "`vistill import --classes FILE` names a model's, classes.txt those of shards",
                        from->what, from->count, missing, to->what, to->count);
    return vst_fail(VST_ERROR_ARGUMENT, "%s: %s not among the %d classes of %s: %s", from->what, missing, to->count,
                    to->what, known);
}

vst_status vst_classes_match(vst_class_match *match, const vst_classes *from, const vst_classes *to) {
    vst_status status = VST_OK;
    bool all = true;
    finder *names = vst_calloc(1, sizeof *names);
    *match = (vst_class_match){.from = from->count, .to = to->count};
    if (!names) return vst_fail_memory(sizeof *names);
    match->map = vst_alloc(((size_t)from->count + 1) * sizeof *match->map);
    if (!match->map) VST_TRY(vst_fail_memory((size_t)from->count * sizeof *match->map));
    VST_TRY(finder_create(names, to));
    for (int i = 0; i < from->count; i++) {
        match->map[i] = find_class(names, from->names[i], i);
        all &= match->map[i] >= 0;
    }
    if (!all) VST_TRY(match_positions(match, from, to));
    match->same = from->count == to->count;
    for (int i = 0; i < from->count; i++) match->same &= match->map[i] == i;
out:
    if (status != VST_OK) vst_class_match_clear(match);
    vst_free(names->sorted);
    vst_free(names);
    return status;
}

void vst_class_match_clear(vst_class_match *match) {
    vst_free(match->map);
    *match = (vst_class_match){0};
}

void vst_class_match_log(const vst_class_match *match, const vst_classes *from, const vst_classes *to) {
    if (match->by_position)
        vst_log(VST_LOG_WARNING, "the classes of %s and %s are matched by position, for %s has no names of them",
                from->what, to->what, vst_classes_unnamed(from) ? from->what : to->what);
    else if (match->from < match->to)
        vst_log(VST_LOG_INFO, "classes  %d of %d, matched by name; the scores are over all %d", match->from, match->to,
                match->to);
    else if (!match->same) vst_log(VST_LOG_INFO, "classes  matched by name, for they are in another order");
}

vst_status vst_classes_view(vst_dataset **view, const vst_dataset *dataset, const vst_classes *to,
                            vst_class_match *match) {
    vst_class_match own = {0};
    const vst_classes from = vst_dataset_class_list(dataset);
    *view = NULL;
    if (match) *match = own;
    if (from.count == 0)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has no labels; images that belong to classes are wanted", from.what);
    vst_status status = vst_classes_match(&own, &from, to);
    if (status == VST_OK && !own.same) status = vst_dataset_relabel(dataset, own.map, to->names, to->count, view);
    if (status == VST_OK && match) *match = own;
    else vst_class_match_clear(&own);
    return status;
}
