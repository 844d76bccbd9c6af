/* Class folders of image files, as torchvision's ImageFolder: classes are the names of the sub-folders, sorted by
 * bytes; files are found at any depth and sorted. files.h describes how the split's folder is found. Both splits have
 * the classes of the training split, so that labels agree if the test split lacks a class; an empty class folder is a
 * class. A sample takes 4 bytes and its file name. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/file_set.h"

static int by_text(const void *a, const void *b) { return strcmp(a, *(char *const *)b); }

/* The test split may lack classes, but must not have classes that the training split lacks. */
static vst_status check_names(const vsti_file_set *self, const char *train) {
    vst_status status = VST_OK;
    char **own = NULL;
    size_t count = 0;
    VST_TRY(vsti_class_folders(self->path, &own, &count));
    for (size_t i = 0; i < count; i++)
        if (!bsearch(own[i], self->names, self->name_count, sizeof *self->names, by_text))
            VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: class \"%s\" is not in %s: both must have the same class folders",
                             self->path, own[i], train));
out:
    vsti_names_free(own, count);
    return status;
}

static vst_status find_classes(vsti_file_set *self, const char *path, const char *split) {
    vst_status status = VST_OK;
    char train[PATH_MAX];
    bool whole;
    const bool own = self->base.whole || strcmp(split, "train") == 0 ||
                     vsti_split_folder(path, "train", VSTI_FOLDER_CLASSES, train, &whole) != VST_OK;
    VST_TRY(vsti_class_folders(own ? self->path : train, &self->names, &self->name_count));
    if (!own) VST_TRY(check_names(self, train));
    if (self->name_count > VSTI_CLASSES_MAX)
        VST_TRY(vst_fail(VST_ERROR_LIMIT, "%s: %zu class folders, the limit is %d", self->path, self->name_count,
                         VSTI_CLASSES_MAX));
out:
    return status;
}

static vst_status open_imagefolder(vst_dataset **out, const char *path, const char *split) {
    vst_status status = VST_OK;
    char folder[PATH_MAX];
    vsti_file_set *self = NULL;
    VST_TRY(vsti_file_set_create(&self, path, split, VSTI_FOLDER_CLASSES));
    VST_TRY(find_classes(self, path, split));
    for (size_t i = 0; i < self->name_count; i++) {
        const int length = snprintf(folder, sizeof folder, "%s/%s", self->path, self->names[i]);
        if (length < PATH_MAX && access(folder, F_OK) != 0) continue; /* lacks a class of the training split */
        VST_TRY(vsti_files_add(&self->files, self->path, self->names[i], (int)i));
    }
    VST_TRY(vsti_file_set_finish(self));
    *out = &self->base;
    self = NULL;
out:
    vsti_file_set_close(self);
    return status;
}

static bool probe(const char *path) { return vsti_root_kind(path) == VSTI_FOLDER_CLASSES; }

extern const vst_dataset_format vsti_dataset_format_imagefolder;
const vst_dataset_format vsti_dataset_format_imagefolder = {
    .name = "imagefolder",
    .help =
        "class folders of images: {train,test or val}/CLASS/…/NAME.{jpg,png}, or CLASS/…/NAME.{jpg,png} without splits",
    .probe = probe,
    .open = open_imagefolder,
};
