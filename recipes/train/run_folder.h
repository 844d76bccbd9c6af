/* A run's folder: who may write in it, and the growing files log.txt, summary.csv and events. Internal to this folder.
 */
#ifndef VISTILL_RECIPES_TRAIN_RUN_FOLDER_H
#define VISTILL_RECIPES_TRAIN_RUN_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

enum { VSTI_PATH = 4096 };
#define VSTI_STEPS_FILE "steps.csv"

typedef struct vsti_run_folder {
    char *path;
    int lock;        /* descriptor of the locked file, -1: none */
    bool log_failed; /* a line could not be written; warned about once, training goes on */
} vsti_run_folder;

/* Makes a folder and those above it; `key` is the recipe's, for the advice. */
VST_NODISCARD vst_status vsti_make_folders(const char *path, const char *key);

/* Makes the folder (and those above it), takes its lock and removes temporary files that killed runs left; another
 * process there is an error. Starts as {0}. */
VST_NODISCARD vst_status vsti_run_folder_open(vsti_run_folder *folder, const char *path);
void vsti_run_folder_close(vsti_run_folder *folder);

/* path/name; fails if it is too long. */
VST_NODISCARD vst_status vsti_run_folder_file(const vsti_run_folder *folder, const char *name, char path[VSTI_PATH]);
/* Whether `path` leads to a file that a run of this folder writes and removes. */
bool vsti_run_folder_writes(const vsti_run_folder *folder, const char *path);
bool vsti_run_folder_has(const vsti_run_folder *folder, const char *name);
/* Removes what an earlier run left. */
VST_NODISCARD vst_status vsti_run_folder_clean(const vsti_run_folder *folder);
/* Replaces a small text file. */
VST_NODISCARD vst_status vsti_run_folder_write(const vsti_run_folder *folder, const char *name, const char *text);
/* Appends to a file. A full disk does not end a training: it is warned about once. */
void vsti_run_folder_append(vsti_run_folder *folder, const char *name, const void *bytes, size_t size);
/* Size in bytes, 0 if there is none; and cutting off what was written after a checkpoint. */
uint64_t vsti_run_folder_size(const vsti_run_folder *folder, const char *name);
VST_NODISCARD vst_status vsti_run_folder_truncate(const vsti_run_folder *folder, const char *name, uint64_t bytes);

#endif
