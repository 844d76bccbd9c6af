/* Used by most tests: calls that must succeed or fail, and a folder for each test. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_OWN_FOLDER_H
#define VISTILL_TESTS_UNIT_OWN_FOLDER_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vision/base/status.h"

#define ck_ok(expression) ck_assert_msg((expression) == VST_OK, "%s", vst_error_message())
/* Fails with this status and a message that contains `text`. */
#define ck_fails(expression, expected, text)                                                  \
    do {                                                                                      \
        ck_assert_int_eq((expression), (expected));                                           \
        ck_assert_msg(strstr(vst_error_message(), text), "message: %s", vst_error_message()); \
    } while (0)

/* Creates an empty folder whose name contains `hint` and writes its path to `path`. */
static inline void make_folder(char path[256], const char *hint) {
    const char *base = getenv("TMPDIR");
    snprintf(path, 256, "%s/vistill-%s-XXXXXX", base ? base : P_tmpdir, hint);
    ck_assert_ptr_nonnull(mkdtemp(path));
}

/* Removes a folder with its contents; links are not followed. */
static inline void remove_tree(const char *path) {
    struct stat info;
    DIR *stream = lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        char child[1024];
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove_tree(child);
    }
    if (stream) closedir(stream);
    remove(path);
}

static char own_folder[256]; /* folder of the current test */

/* Creates the folder and enters it, so that the test can use relative paths. */
static inline void enter_own_folder(const char *hint) {
    make_folder(own_folder, hint);
    ck_assert_int_eq(chdir(own_folder), 0);
}

static inline void leave_own_folder(void) {
    ck_assert_int_eq(chdir("/"), 0);
    remove_tree(own_folder);
}

#endif
