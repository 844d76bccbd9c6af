/* Functions for samples that are image files: reading bytes, hashes, extensions. */
#include "datasets/encoded.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <xxhash.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"

vst_status vsti_read_range(int file, uint64_t offset, uint64_t size, vst_bytes *bytes) {
    if (size > VST_IMAGE_FILE_BYTES)
        return vst_fail(VST_ERROR_LIMIT, "an image file of %llu bytes, the limit is %zu", (unsigned long long)size,
                        VST_IMAGE_FILE_BYTES);
    const vst_status status = vst_bytes_resize(bytes, (size_t)size);
    return status == VST_OK ? vsti_file_read_at(file, offset, bytes->data, (size_t)size) : status;
}

vst_status vsti_read_file(int folder, const char *path, vst_bytes *bytes) {
    int file;
    uint64_t size;
    vst_status status = vsti_file_open_at(folder, path, O_RDONLY, &file, &size);
    if (status != VST_OK) return status;
    status = vsti_read_range(file, 0, size, bytes);
    close(file);
    return status;
}

void vsti_encoded_hash(const vst_dataset *dataset, vsti_size_of *size_of, uint64_t *hash) {
    char name[PATH_MAX];
    uint64_t chain = dataset->count; /* each hash is the seed of the next */
    for (uint64_t i = 0; i < dataset->count; i++) {
        int label;
        const uint64_t size = size_of(dataset, i, &label); /* before label is read below */
        const uint64_t parts[2] = {size, (uint64_t)(int64_t)label};
        dataset->methods->name(dataset, i, name, sizeof name);
        chain = XXH3_64bits_withSeed(name, strlen(name), chain);
        chain = XXH3_64bits_withSeed(parts, sizeof parts, chain);
    }
    for (int i = 0; i < dataset->classes; i++)
        chain = XXH3_64bits_withSeed(dataset->class_names[i], strlen(dataset->class_names[i]), chain);
    *hash = chain;
}

bool vsti_is_stray_name(const char *path) {
    static const char folder[] = "__MACOSX";
    static const char *const names[] = {".DS_Store", "Thumbs.db", "desktop.ini"};
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strcspn(part, "/") == strlen(folder) && strncmp(part, folder, strlen(folder)) == 0) return true;
    }
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(base, names[i]) == 0) return true;
    return strncmp(base, "._", 2) == 0;
}

bool vsti_is_image_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"};
    const size_t length = strlen(name);
    if (vsti_is_stray_name(name)) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t ending = strlen(endings[i]);
        if (length >= ending && strcasecmp(name + length - ending, endings[i]) == 0) return true;
    }
    return false;
}
