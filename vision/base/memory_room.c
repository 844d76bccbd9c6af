/* How much memory the machine has: /proc/meminfo, and the limits of the control groups that a container or a batch
 * system sets. */
#include "vision/base/memory_room.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "vision/base/disk.h"
#include "vision/base/log.h"

enum { PATH_BYTES = PATH_MAX, LINE_BYTES = 512 };

/* ---- Text files of the kernel ---- */

/* The number behind `key` at the beginning of a line. */
static bool read_field(const char *path, const char *key, uint64_t *value) {
    char line[LINE_BYTES];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        const size_t length = strlen(key);
        unsigned long long number;
        found = strncmp(line, key, length) == 0 && sscanf(line + length, " %llu", &number) == 1;
        if (found) *value = number;
    }
    if (file) fclose(file);
    return found;
}

static bool read_kilobytes(const char *root, const char *name, const char *key, uint64_t *bytes) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/proc/%s", root, name);
    if (!read_field(path, key, bytes)) return false;
    *bytes *= 1024;
    return true;
}

/* ---- Control groups ---- */

typedef struct group_files {
    const char *mount, *limit, *used, *cache; /* cache: of memory.stat, file pages that are given up first */
} group_files;

static const group_files version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                      "total_inactive_file "};
static const group_files version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "};

/* The limit of one group, where it has one ("max" is no number). */
static void narrow(const char *folder, const group_files *files, vsti_memory_room *room) {
    char path[PATH_BYTES];
    uint64_t limit, used = 0, cache = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, files->limit) >= PATH_BYTES) return;
    if (!read_field(path, "", &limit)) return;
    snprintf(path, sizeof path, "%s/%s", folder, files->used);
    read_field(path, "", &used);
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    read_field(path, files->cache, &cache);
    used -= cache < used ? cache : used;
    const uint64_t left = limit > used ? limit - used : 0;
    if (limit < room->most) room->most = limit;
    if (left < room->free) room->free = left;
}

/* The group and those above it. A group that is not to be seen under its name, as in a container, leaves the mount. */
static void narrow_by_groups(const char *root, const char *group, const group_files *files, vsti_memory_room *room) {
    char folder[PATH_BYTES];
    const int mount = snprintf(folder, sizeof folder, "%s%s", root, files->mount);
    if (mount < 0 || snprintf(folder + mount, sizeof folder - (size_t)mount, "%s", group) >= PATH_BYTES - mount) return;
    for (;;) {
        narrow(folder, files, room);
        char *slash = strrchr(folder, '/');
        if (slash < folder + mount) return;
        *slash = 0;
    }
}

/* Lines are "4:memory:/group", of version 2 "0::/group". */
static void read_groups(const char *root, vsti_memory_room *room) {
    char path[PATH_BYTES], *line = NULL;
    size_t capacity = 0;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &capacity, file) >= 0) {
        char *names = strchr(line, ':'), *group = names ? strchr(names + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        if (!*++names) narrow_by_groups(root, group, &version_2, room);
        for (char *name; (name = strsep(&names, ","));)
            if (strcmp(name, "memory") == 0) narrow_by_groups(root, group, &version_1, room);
    }
    free(line);
    if (file) fclose(file);
}

/* ---- All of it ---- */

bool vsti_memory_room_read(const char *root, vsti_memory_room *room) {
    uint64_t swap = 0, own = 0;
    if (!read_kilobytes(root, "meminfo", "MemTotal:", &room->most)) return false;
    if (!read_kilobytes(root, "meminfo", "MemAvailable:", &room->free)) return false;
    read_kilobytes(root, "meminfo", "SwapTotal:", &swap);
    read_kilobytes(root, "self/status", "RssAnon:", &own);
    read_groups(root, room);
    room->most += swap;
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY && space.rlim_cur < room->most)
        room->most = space.rlim_cur;
    room->free += own;
    return true;
}

uint64_t vsti_memory_used(void) {
    uint64_t own = 0;
    read_kilobytes("", "self/status", "RssAnon:", &own);
    return own;
}

vst_status vsti_memory_check(uint64_t needed, const char *what, const char *advice) {
    vsti_memory_room room;
    char wanted[32], there[32];
    if (!vsti_memory_room_read("", &room) || needed <= room.free) return VST_OK;
    vsti_bytes_text(needed, wanted);
    if (needed > room.most)
        return vst_fail(VST_ERROR_LIMIT, "%s needs %s of memory and there are %s: %s takes less", what, wanted,
                        vsti_bytes_text(room.most, there), advice);
    vst_log(VST_LOG_WARNING,
            "%s needs %s of memory and %s are free: it may become slow, or be ended by the system; %s takes less", what,
            wanted, vsti_bytes_text(room.free, there), advice);
    return VST_OK;
}
