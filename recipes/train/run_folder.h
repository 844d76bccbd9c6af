/* The run folder: its lock, and the files that are appended to, log.txt, summary.csv and events. Internal to this
 * folder.
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

/* Creates a folder and its parents; `key` is the key of the recipe to name in the error message. */
VST_NODISCARD vst_status vsti_make_folders(const char *path, const char *key);

/* Creates the folder and its parents, locks it and removes temporary files of killed runs; fails if another process
 * holds the lock. Initialise it with {0}. */
VST_NODISCARD vst_status vsti_run_folder_open(vsti_run_folder *folder, const char *path);
void vsti_run_folder_close(vsti_run_folder *folder);

/* path/name; fails if it is too long. */
VST_NODISCARD vst_status vsti_run_folder_file(const vsti_run_folder *folder, const char *name, char path[VSTI_PATH]);
/* Whether `path` is a file that a run in this folder writes or removes. */
bool vsti_run_folder_writes(const vsti_run_folder *folder, const char *path);
bool vsti_run_folder_has(const vsti_run_folder *folder, const char *name);
/* Removes the files of an earlier run. */
VST_NODISCARD vst_status vsti_run_folder_clean(const vsti_run_folder *folder);
/* Replaces a small text file. */
VST_NODISCARD vst_status vsti_run_folder_write(const vsti_run_folder *folder, const char *name, const char *text);
/* Appends to a file. If that fails, as on a full disk, training continues and a warning is logged once. */
void vsti_run_folder_append(vsti_run_folder *folder, const char *name, const void *bytes, size_t size);
/* The size of a file in bytes, 0 if it does not exist; and truncation to the size at a checkpoint. */
uint64_t vsti_run_folder_size(const vsti_run_folder *folder, const char *name);
VST_NODISCARD vst_status vsti_run_folder_truncate(const vsti_run_folder *folder, const char *name, uint64_t bytes);

#endif
