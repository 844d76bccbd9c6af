/* Finds the tar files of a path. */
#include "datasets/tar_shards.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datasets/files.h"
#include "vision/base/memory.h"

void vsti_shards_clear(vsti_shards *shards) {
    vsti_names_free(shards->paths, shards->count);
    *shards = (vsti_shards){0};
}

static vst_status add(vsti_shards *shards, const char *folder, const char *name) {
    if (shards->count >= VSTI_SHARDS_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s%s: more than %d shards", folder, name, VSTI_SHARDS_MAX);
    vst_status status = vst_grow(&shards->paths, &shards->capacity, shards->count + 1, sizeof *shards->paths);
    if (status != VST_OK) return status;
    shards->paths[shards->count] = vst_format("%s%s%s", folder, *folder ? "/" : "", name);
    if (!shards->paths[shards->count]) return vst_fail_memory(PATH_MAX);
    shards->count++;
    return VST_OK;
}

static bool is_tar(const char *name) {
    const size_t length = strlen(name);
    return length > 4 && name[0] != '.' && strcmp(name + length - 4, ".tar") == 0;
}

static bool is_unfinished(const char *name) {
    static const char ending[] = ".tar" VSTI_SHARD_UNFINISHED;
    const size_t length = strlen(name);
    return length >= sizeof ending && name[0] != '.' && strcmp(name + length - (sizeof ending - 1), ending) == 0;
}

/* ---- Patterns ---- */

/* "{first..last}" in a pattern. `digits`: minimum number of digits. */
typedef struct range {
    const char *begin, *end;
    unsigned long first, last;
    int digits;
} range;

static bool find_range(const char *path, range *out) {
    for (const char *open = strchr(path, '{'); open; open = strchr(open + 1, '{')) {
        char *end;
        if (!isdigit((unsigned char)open[1])) continue;
        out->begin = open;
        out->first = strtoul(open + 1, &end, 10);
        out->digits = (int)(end - open - 1);
        if (strncmp(end, "..", 2) != 0 || !isdigit((unsigned char)end[2])) continue;
        out->last = strtoul(end + 2, &end, 10);
        out->end = end + 1;
        if (*end == '}' && out->digits < 20 && out->first <= out->last) return true;
    }
    return false;
}

/* Replaces the first range by each of its numbers, and the following ranges recursively. */
static vst_status expand(vsti_shards *shards, const char *pattern) {
    range found;
    if (!find_range(pattern, &found)) return add(shards, "", pattern);
    if (found.last - found.first >= VSTI_SHARDS_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s: the pattern stands for more than %d shards", pattern, VSTI_SHARDS_MAX);
    vst_status status = VST_OK;
    for (unsigned long i = found.first; status == VST_OK && i <= found.last; i++) {
        char *one = vst_format("%.*s%0*lu%s", (int)(found.begin - pattern), pattern, found.digits, i, found.end);
        status = one ? expand(shards, one) : vst_fail_memory(strlen(pattern));
        vst_free(one);
    }
    return status;
}

/* ---- Folders ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Adds the sorted tars of a folder. A missing folder is ignored. */
static vst_status add_folder(vsti_shards *shards, const char *folder) {
    vst_status status = VST_OK;
    const size_t before = shards->count;
    DIR *stream = opendir(folder);
    if (!stream) return VST_OK;
    for (const struct dirent *entry; (entry = readdir(stream));) {
        if (is_unfinished(entry->d_name))
            VST_TRY(vst_fail(VST_ERROR_FORMAT,
                             "%s/%s: `vistill data pack` is still writing these shards, or was interrupted: remove "
                             "them and pack anew",
                             folder, entry->d_name));
        if (is_tar(entry->d_name)) VST_TRY(add(shards, folder, entry->d_name));
    }
    if (shards->count > before) qsort(shards->paths + before, shards->count - before, sizeof *shards->paths, by_text);
out:
    closedir(stream);
    return status;
}

/* True if the word occurs separately in the file name: in "a-val-03.tar", not in "medieval.tar". */
static bool has_word(const char *path, const char *word) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t length = strlen(word);
    for (const char *at = strcasestr(name, word); at; at = strcasestr(at + 1, word))
        if ((at == name || !isalnum((unsigned char)at[-1])) && !isalpha((unsigned char)at[length])) return true;
    return false;
}

static const char *word_of(const char *path, const char *split) {
    for (const char *const *word = vsti_split_words(split); *word; word++)
        if (has_word(path, *word)) return *word;
    return NULL;
}

/* If names contain words of splits, keeps the shards with the split's most preferred word. */
static void keep_split(vsti_shards *shards, const char *split) {
    const char *best = NULL;
    bool any = false;
    for (size_t i = 0; i < shards->count; i++)
        any |= word_of(shards->paths[i], "train") || word_of(shards->paths[i], "test");
    shards->whole = !any;
    if (!any) return;
    for (const char *const *word = vsti_split_words(split); *word && !best; word++)
        for (size_t i = 0; i < shards->count; i++)
            if (has_word(shards->paths[i], *word)) best = *word;
    size_t kept = 0;
    for (size_t i = 0; i < shards->count; i++) {
        if (best && has_word(shards->paths[i], best)) shards->paths[kept++] = shards->paths[i];
        else vst_free(shards->paths[i]);
    }
    shards->count = kept;
}

/* Adds the tars of the split's first folder that has any. */
static vst_status add_split_folder(vsti_shards *shards, const char *path, const char *split) {
    for (const char *const *word = vsti_split_words(split); *word && shards->count == 0; word++) {
        char folder[PATH_MAX];
        if (!vsti_named_folder(path, *word, folder)) continue;
        const vst_status status = add_folder(shards, folder);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

static vst_status find_in_folder(vsti_shards *shards, const char *path, const char *split) {
    vst_status status = VST_OK;
    vsti_shards other = {0};
    VST_TRY(add_split_folder(shards, path, split ? split : "train"));
    VST_TRY(add_split_folder(split ? &other : shards, path,
                             split && strcmp(split, "train") == 0 ? "test"
                             : split                              ? "train"
                                                                  : "test"));
    if (shards->count + other.count == 0 || !split) {
        VST_TRY(add_folder(shards, path));
        if (split) keep_split(shards, split);
    }
    if (shards->count == 0)
        VST_TRY(
            vst_fail(VST_ERROR_NOT_FOUND, "%s: no tar file of the split \"%s\" found", path, split ? split : "any"));
out:
    vsti_shards_clear(&other);
    return status;
}

vst_status vsti_shards_find(vsti_shards *shards, const char *path, const char *split) {
    struct stat info;
    const bool there = stat(path, &info) == 0;
    vst_status status;
    if (there && S_ISDIR(info.st_mode)) {
        status = find_in_folder(shards, path, split);
    } else {
        shards->whole = true;
        status = there ? add(shards, "", path) : expand(shards, path);
    }
    if (status != VST_OK) vsti_shards_clear(shards);
    return status;
}

bool vsti_shards_probe(const char *path) {
    range found;
    struct stat info;
    vsti_shards shards = {0};
    if (stat(path, &info) != 0) return is_tar(path) && find_range(path, &found);
    if (!S_ISDIR(info.st_mode)) return is_tar(path);
    const vst_status status = vsti_shards_find(&shards, path, NULL);
    vsti_shards_clear(&shards);
    return status == VST_OK || status == VST_ERROR_FORMAT; /* an unfinished set; opening it gives the error */
}
