/* Opens a recipe's data and logits of another program, and matches rows with training samples. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/train/run_folder.h"
#include "recipes/train/teacher_cache.h"
#include "vision/base/file.h"
#include "vision/base/lines.h"
#include "vision/base/memory.h"
#include "vision/tensor/weights.h"

enum { NAMES_BYTES = 1 << 30, MEASURED = 2000 };

/* A name and its number. */
typedef struct named {
    const char *name;
    uint64_t index;
} named;

typedef struct work {
    vsti_train_data data;
    vst_weights *file;
    vsti_logits logits;
    uint64_t *rows;
    char *text; /* of the file of names */
    named *list;
} work;

/* ---- The table ---- */

static vst_status check_table(work *self, const vst_recipe *recipe, const vst_cache_import_options *options) {
    char shape[VST_SHAPE_TEXT];
    const vst_tensor *tensor = self->logits.tensor = vst_weights_find(self->file, "logits");
    const int views = recipe->augment.views, classes = vst_model_common_of(recipe->model)->classes;
    if (!tensor) return vst_fail(VST_ERROR_NOT_FOUND, "%s has no tensor \"logits\"", options->logits);
    const int rank = tensor->shape.rank;
    if ((rank != 2 && rank != 3) || tensor->dtype > VST_BF16 || vst_shape_count(&tensor->shape) < 1)
        return vst_fail(VST_ERROR_SHAPE,
                        "%s: \"logits\" is %s; floating point (samples, classes) or (views, samples, "
                        "classes) is wanted",
                        options->logits, vst_shape_text(&tensor->shape, shape));
    self->logits.views = rank == 3 ? (uint64_t)tensor->shape.dim[0] : 1;
    self->logits.count = (uint64_t)tensor->shape.dim[rank - 2];
    self->logits.classes = (size_t)tensor->shape.dim[rank - 1];
    if (self->logits.classes != (size_t)classes)
        return vst_fail(VST_ERROR_SHAPE, "%s: \"logits\" has %zu classes, the student %d", options->logits,
                        self->logits.classes, classes);
    if (!views)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augment.views is 0: every epoch has new views, for which there are no logits; set it to 1, or "
                        "to the number of views of the logits");
    if (rank == 3 && self->logits.views != (uint64_t)views)
        return vst_fail(VST_ERROR_SHAPE, "%s: \"logits\" is of %llu views, and augment.views is %d", options->logits,
                        (unsigned long long)self->logits.views, views);
    if (rank == 2 && recipe->augment.train && *recipe->augment.train && !options->plain)
        return vst_fail(
            VST_ERROR_ARGUMENT,
            "%s: the logits are of one view, and augment.train shows the student others (%s): --plain takes "
            "them as the answers to the plain images all the same, or unset augment.train",
            options->logits, recipe->augment.train);
    self->logits.hash =
        XXH3_64bits(tensor->data, (size_t)vst_shape_count(&tensor->shape) * vst_dtype_size(tensor->dtype));
    return VST_OK;
}

/* ---- Rows ---- */

static int by_name(const void *a, const void *b) { return strcmp(((const named *)a)->name, ((const named *)b)->name); }

/* The sorted names of the rows: those of the file, or those of the data set's samples. */
static vst_status list_names(work *self, const vst_cache_import_options *options) {
    vst_status status = VST_OK;
    uint64_t count = 0;
    size_t size, length;
    VST_TRY(vsti_file_read(options->names, NAMES_BYTES, "a list of names", &self->text, &size));
    vst_lines lines = vst_lines_of(self->text, size);
    for (const char *line; vst_lines_next(&lines, &line, &length); count++) {
        self->text[line - self->text + (ptrdiff_t)length] = 0;
        if (count == self->logits.count)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s has more names than the logits %llu rows", options->names,
                             (unsigned long long)count));
        self->list[count] = (named){line, count};
    }
    if (count < self->logits.count)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s has %llu names, the logits %llu rows", options->names,
                         (unsigned long long)count, (unsigned long long)self->logits.count));
    qsort(self->list, (size_t)count, sizeof *self->list, by_name);
    for (uint64_t i = 1; i < count; i++)
        if (strcmp(self->list[i - 1].name, self->list[i].name) == 0)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s names %s twice", options->names, self->list[i].name));
out:
    return status;
}

static vst_status copy_names(work *self) {
    char name[PATH_MAX];
    for (uint64_t i = 0; i < self->logits.count; i++) {
        vst_dataset_sample_name(self->data.source, i, name, sizeof name);
        self->list[i] = (named){vst_strdup(name), i};
        if (!self->list[i].name) return vst_fail_memory(sizeof name);
    }
    qsort(self->list, (size_t)self->logits.count, sizeof *self->list, by_name);
    return VST_OK;
}

/* If there are rows for the whole data set, they are found by sample name, because a validation split or a limit leaves
 * samples out. */
static vst_status find_rows(work *self, const vst_cache_import_options *options) {
    vst_status status = VST_OK;
    char name[PATH_MAX];
    const uint64_t trained = vst_dataset_count(self->data.train), all = vst_dataset_count(self->data.source);
    self->rows = vst_calloc((size_t)trained, sizeof *self->rows);
    self->list = vst_calloc((size_t)self->logits.count, sizeof *self->list);
    if (!self->rows || !self->list) VST_TRY(vst_fail_memory((size_t)trained * sizeof *self->rows));
    for (uint64_t i = 0; i < trained; i++) self->rows[i] = i;
    self->logits.rows = self->rows;
    if (!options->names && self->logits.count == trained) goto out;
    if (!options->names && self->logits.count != all)
        VST_TRY(
            vst_fail(VST_ERROR_SHAPE,
                     "%s: \"logits\" has %llu rows; the data set has %llu training samples, of which %llu are trained "
                     "on",
                     options->logits, (unsigned long long)self->logits.count, (unsigned long long)all,
                     (unsigned long long)trained));
    VST_TRY(options->names ? list_names(self, options) : copy_names(self));
    for (uint64_t i = 0; i < trained; i++) {
        const named wanted = {vst_dataset_sample_name(self->data.train, i, name, sizeof name), 0};
        const named *found = bsearch(&wanted, self->list, (size_t)self->logits.count, sizeof *self->list, by_name);
        if (!found)
            VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: there is no row for the training sample %s",
                             options->names ? options->names : options->logits, name));
        self->rows[i] = found->index;
    }
out:
    return status;
}

/* ---- Whether they are the right ones ---- */

/* Reads the label, without decoding the image if possible. */
static vst_status read_label(const vst_dataset *data, uint64_t index, vst_bytes *bytes, vst_image *image, int *label) {
    return vst_dataset_encoded(data) ? vst_dataset_read_bytes(data, index, bytes, label)
                                     : vst_dataset_read(data, index, image, label);
}

static bool is_right(const vsti_logits *l, uint64_t row, int label, float *values) {
    const char *from = (const char *)l->tensor->data + row * l->classes * vst_dtype_size(l->tensor->dtype);
    size_t best = 0;
    vst_to_float(values, from, l->tensor->dtype, l->classes);
    for (size_t c = 1; c < l->classes; c++)
        if (values[c] > values[best]) best = c;
    return (int)best == label;
}

static vst_status measure(work *self) {
    vst_status status = VST_OK;
    const vst_dataset *data = self->data.train;
    const uint64_t all = vst_dataset_count(data), count = all < MEASURED ? all : MEASURED;
    vst_bytes bytes = {0};
    vst_image image = {0};
    uint64_t right = 0, labelled = 0;
    float *values = vst_alloc(self->logits.classes * sizeof *values);
    if (!values) return vst_fail_memory(self->logits.classes * sizeof *values);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t sample = i * all / count;
        int label;
        VST_TRY(read_label(data, sample, &bytes, &image, &label));
        if (label < 0) continue;
        labelled++;
        right += is_right(&self->logits, self->rows[sample], label, values);
    }
    self->logits.top1 = labelled ? 100 * (double)right / (double)labelled : NAN;
out:
    vst_bytes_clear(&bytes);
    vst_image_clear(&image);
    vst_free(values);
    return status;
}

/* ---- All ---- */

static vst_status import(work *self, const vst_recipe *recipe, const vst_cache_import_options *options,
                         vst_cache_size *size) {
    vst_status status = VST_OK;
    if (!vst_recipe_cached(recipe))
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "distill.cache is not set: the folder of the cache, --set distill.cache=FOLDER"));
    VST_TRY(vst_weights_open(&self->file, options->logits, NULL));
    VST_TRY(check_table(self, recipe, options));
    VST_TRY(vsti_train_data_open(&self->data, recipe));
    VST_TRY(find_rows(self, options));
    VST_TRY(measure(self));
    VST_TRY(vsti_make_folders(recipe->distill.cache, "distill.cache"));
    const vsti_cache_data data = vsti_train_cache_data(&self->data, recipe);
    VST_TRY(vsti_cache_import(recipe, &data, &self->logits, options->force, size));
out:
    return status;
}

vst_status vst_cache_import(const vst_recipe *recipe, const vst_cache_import_options *options, vst_cache_size *size,
                            double *top1) {
    work self = {.logits = {.top1 = NAN}};
    *size = (vst_cache_size){0};
    const vst_status status = import(&self, recipe, options, size);
    *top1 = self.logits.top1;
    for (uint64_t i = 0; self.list && !self.text && i < self.logits.count; i++) vst_free((char *)self.list[i].name);
    vst_free(self.list);
    vst_free(self.text);
    vst_free(self.rows);
    vst_weights_close(self.file);
    vsti_train_data_close(&self.data);
    return status;
}
