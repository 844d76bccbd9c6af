/* A folder of images without labels, for distillation: all image files in it and below it, in the order of torchvision
 * (by folder path, then name). Detected if images are directly in the folder or in its split folders; with format
 * "images" any folder can be used. */
#include "datasets/file_set.h"

static vst_status open_images(vst_dataset **out, const char *path, const char *split) {
    vst_status status = VST_OK;
    vsti_file_set *self = NULL;
    VST_TRY(vsti_file_set_create(&self, path, split, VSTI_FOLDER_IMAGES));
    VST_TRY(vsti_files_add(&self->files, self->path, "", -1));
    VST_TRY(vsti_file_set_finish(self));
    *out = &self->base;
    self = NULL;
out:
    vsti_file_set_close(self);
    return status;
}

static bool probe(const char *path) { return vsti_root_kind(path) == VSTI_FOLDER_IMAGES; }

extern const vst_dataset_format vsti_dataset_format_images;
const vst_dataset_format vsti_dataset_format_images = {
    .name = "images",
    .help = "images without labels: {train,test}/…/NAME.{jpg,png} or a folder with NAME.{jpg,png} in it",
    .probe = probe,
    .open = open_images,
};
