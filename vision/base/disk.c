/* Free space of disks. */
#include "vision/base/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "vision/base/memory.h"

const char *vsti_bytes_text(uint64_t bytes, char text[32]) {
    const double b = (double)bytes;
    if (b >= 1e12) snprintf(text, 32, "%.2f TB", b / 1e12);
    else if (b >= 1e9) snprintf(text, 32, "%.2f GB", b / 1e9);
    else if (b >= 1e6) snprintf(text, 32, "%.1f MB", b / 1e6);
    else snprintf(text, 32, "%.1f kB", b / 1e3);
    return text;
}

/* Goes to the parent: "a/b" -> "a", "a" -> ".", "/a" -> "/"; false if there is none. */
static bool go_up(char *path) {
    char *slash = strrchr(path, '/');
    if (strcmp(path, ".") == 0 || strcmp(path, "/") == 0) return false;
    if (!slash) strcpy(path, ".");
    else slash[slash == path] = 0;
    return true;
}

vst_status vsti_disk_check(const char *path, uint64_t needed, const char *advice) {
    vst_status status = VST_OK;
    char wanted[32], room[32], *at = *path ? vst_strdup(path) : vst_strdup(".");
    struct statvfs disk;
    if (!at) VST_TRY(vst_fail_memory(strlen(path) + 1));
    while (statvfs(at, &disk) != 0)
        if (errno != ENOENT || !go_up(at))
            VST_TRY(vst_fail(VST_ERROR_IO, "%s: its disk's room is not known: %s", at, strerror(errno)));
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < needed)
        status = vst_fail(VST_ERROR_IO, "%s: %s are needed and %s are free on its disk: %s", path,
                          vsti_bytes_text(needed, wanted), vsti_bytes_text(free_bytes, room), advice);
out:
    vst_free(at);
    return status;
}
