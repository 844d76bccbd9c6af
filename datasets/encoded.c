/* Samples that are image files: their bytes and extensions. */
#include "datasets/encoded.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "vision/base/memory.h"

vst_status vsti_read_range(int file, uint64_t offset, uint64_t size, vst_bytes *bytes) {
    if (size > VSTI_ENCODED_MAX)
        return vst_fail(VST_ERROR_LIMIT, "an image file of %llu bytes, the limit is %llu", (unsigned long long)size,
                        (unsigned long long)VSTI_ENCODED_MAX);
    vst_status status = vst_bytes_resize(bytes, (size_t)size);
    for (size_t done = 0; status == VST_OK && done < size;) {
        const ssize_t got = pread(file, bytes->data + done, (size_t)size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = vst_fail(VST_ERROR_IO, "cannot be read: %s", strerror(errno));
        if (got == 0)
            status = vst_fail(VST_ERROR_FORMAT, "cut off at byte %llu: fetch the file again",
                              (unsigned long long)(offset + done));
        if (got > 0) done += (size_t)got;
    }
    return status;
}

/* A pipe among the files must not make a worker wait for ever: hence not blocking. */
vst_status vsti_read_file(int folder, const char *path, vst_bytes *bytes) {
    vst_status status = VST_OK;
    struct stat info;
    const int file = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 || fstat(file, &info) != 0)
        status =
            vst_fail(errno == ENOENT ? VST_ERROR_NOT_FOUND : VST_ERROR_IO, "cannot be opened: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode)) status = vst_fail(VST_ERROR_FORMAT, "not an ordinary file");
    else status = vsti_read_range(file, 0, (uint64_t)info.st_size, bytes);
    if (file >= 0) close(file);
    return status;
}

void vsti_encoded_hash(const vst_dataset *dataset, vsti_size_of *size_of, uint64_t *hash) {
    char name[PATH_MAX];
    uint64_t chain = dataset->count; /* each hash seeds the next */
    for (uint64_t i = 0; i < dataset->count; i++) {
        int label;
        const uint64_t parts[2] = {size_of(dataset, i, &label), (uint64_t)(int64_t)label};
        dataset->methods->name(dataset, i, name, sizeof name);
        chain = XXH3_64bits_withSeed(name, strlen(name), chain);
        chain = XXH3_64bits_withSeed(parts, sizeof parts, chain);
    }
    for (int i = 0; i < dataset->classes; i++)
        chain = XXH3_64bits_withSeed(dataset->class_names[i], strlen(dataset->class_names[i]), chain);
    *hash = chain;
}

bool vsti_is_image_name(const char *name) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"};
    const size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t ending = strlen(endings[i]);
        if (length >= ending && strcasecmp(name + length - ending, endings[i]) == 0) return true;
    }
    return false;
}
