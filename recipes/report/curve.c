/* Reads the epochs of a run from summary.csv, or from log.txt if that is missing. */
#include "recipes/report/curve.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"

enum { COLUMNS = 7, CSV_COLUMNS = 32, LINE = 16384, EPOCHS = 100000 };

static const char *const csv_names[COLUMNS] = {"epoch",     "train_loss", "train_top1", "eval_loss",
                                               "eval_top1", "seconds",    "lr"};
static const char *const log_names[COLUMNS] = {"epoch",     "train_loss", "train_acc1", "test_loss",
                                               "test_acc1", "seconds",    "train_lr"};

static vst_status add_epoch(vsti_curve *curve, const double values[COLUMNS]) {
    const vst_status status = vst_grow(&curve->epochs, &curve->capacity, curve->count + 1, sizeof *curve->epochs);
    if (status != VST_OK) return status;
    vsti_epoch *epoch = &curve->epochs[curve->count++];
    *epoch = (vsti_epoch){values[0], values[1], values[2], values[3], values[4], values[5], values[6], {0}};
    for (int i = 0; i < VSTI_CURVE_LOSSES; i++) epoch->losses[i] = NAN;
    return VST_OK;
}

/* The index of each column, found by the names in the first line; -1: missing. */
static void find_columns(char *header, int places[COLUMNS]) {
    for (int i = 0; i < COLUMNS; i++) places[i] = -1;
    char *rest = header, *name;
    for (int column = 0; (name = strsep(&rest, ",")); column++)
        for (int i = 0; i < COLUMNS; i++)
            if (strcmp(name, csv_names[i]) == 0) places[i] = column;
}

static bool parse_csv(char *line, const int places[COLUMNS], double values[COLUMNS]) {
    double cells[CSV_COLUMNS];
    int count = 0;
    char *rest = line, *text;
    while ((text = strsep(&rest, ",")) && count < CSV_COLUMNS) {
        char *end;
        cells[count] = strtod(text, &end);
        if (*end) return false;
        if (end == text) cells[count] = NAN; /* an empty cell */
        count++;
    }
    for (int i = 0; i < COLUMNS; i++) values[i] = places[i] >= 0 && places[i] < count ? cells[places[i]] : NAN;
    return isfinite(values[0]);
}

static vst_status read_csv(FILE *file, vsti_curve *curve) {
    vst_status status = VST_OK;
    char line[LINE];
    int places[COLUMNS];
    double values[COLUMNS];
    if (!fgets(line, sizeof line, file)) goto out;
    line[strcspn(line, "\r\n")] = 0;
    find_columns(line, places);
    while (curve->count < EPOCHS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!parse_csv(line, places, values)) break; /* a killed run may leave an incomplete line */
        VST_TRY(add_epoch(curve, values));
    }
out:
    return status;
}

/* ---- log.txt ---- */

/* The object of a line about a complete epoch; NULL for other lines, such as those within an epoch. */
static json_t *parse_log(const char *line) {
    json_t *object = json_loads(line, 0, NULL);
    if (json_object_get(object, "test_acc1") && json_is_number(json_object_get(object, "epoch"))) return object;
    json_decref(object);
    return NULL;
}

static double number_at(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static vst_status read_log(FILE *file, vsti_curve *curve) {
    vst_status status = VST_OK;
    char line[LINE];
    while (curve->count < EPOCHS && fgets(line, sizeof line, file)) {
        double values[COLUMNS];
        json_t *object = parse_log(line);
        if (!object) continue;
        for (int i = 0; i < COLUMNS; i++) values[i] = number_at(object, log_names[i]);
        json_decref(object);
        VST_TRY(add_epoch(curve, values));
    }
out:
    return status;
}

/* "train_labels_loss" -> "labels", "train_term0_kl" -> "0 kl"; false: another key. */
static bool loss_name(const char *key, char name[VSTI_LOSS_NAME]) {
    int number, bytes = 0;
    if (strcmp(key, "train_labels_loss") == 0) return snprintf(name, VSTI_LOSS_NAME, "labels") > 0;
    if (sscanf(key, "train_term%d_%n", &number, &bytes) != 1 || !bytes) return false;
    return snprintf(name, VSTI_LOSS_NAME, "%d %s", number, key + bytes) > 0;
}

/* The index of the loss of this name, added if necessary; -1: too many losses. */
static int loss_index(vsti_curve *curve, const char name[VSTI_LOSS_NAME]) {
    for (int i = 0; i < curve->loss_count; i++)
        if (strcmp(curve->names[i], name) == 0) return i;
    if (curve->loss_count == VSTI_CURVE_LOSSES) return -1;
    memcpy(curve->names[curve->loss_count], name, VSTI_LOSS_NAME);
    return curve->loss_count++;
}

/* Adds the losses of log.txt to the epochs. */
static vst_status read_losses(FILE *file, vsti_curve *curve) {
    char line[LINE];
    while (fgets(line, sizeof line, file)) {
        json_t *object = parse_log(line), *value;
        const char *key;
        const double number = number_at(object, "epoch");
        vsti_epoch *epoch = NULL;
        for (size_t i = 0; object && i < curve->count; i++)
            if (curve->epochs[i].epoch == number) epoch = &curve->epochs[i];
        json_object_foreach(object, key, value) {
            char name[VSTI_LOSS_NAME];
            const int place = epoch && loss_name(key, name) ? loss_index(curve, name) : -1;
            if (place >= 0) epoch->losses[place] = number_at(object, key);
        }
        json_decref(object);
    }
    return VST_OK;
}

/* ---- Files ---- */

static vst_status read_file(vsti_curve *curve, const char *folder, const char *name,
                            vst_status (*read)(FILE *, vsti_curve *)) {
    vst_status status = VST_OK;
    FILE *file = NULL;
    int fd = -1;
    char *path = vst_format("%s/%s", folder, name);
    if (!path) VST_TRY(vst_fail_memory(strlen(folder)));
    status = vsti_file_open(path, O_RDONLY, &fd, NULL);
    if (status == VST_ERROR_NOT_FOUND) status = VST_OK;
    if (fd < 0) goto out;
    if (!(file = fdopen(fd, "r"))) VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot be read: %m", path));
    VST_TRY(read(file, curve));
out:
    if (file) fclose(file);
    else if (fd >= 0) close(fd);
    vst_free(path);
    return status;
}

vst_status vsti_curve_read(vsti_curve *curve, const char *folder) {
    vst_status status = VST_OK;
    VST_TRY(read_file(curve, folder, "summary.csv", read_csv));
    if (curve->count == 0) VST_TRY(read_file(curve, folder, "log.txt", read_log));
    VST_TRY(read_file(curve, folder, "log.txt", read_losses));
out:
    return status;
}

double vsti_curve_minutes(const vsti_curve *curve) {
    double seconds = curve->count ? 0 : NAN;
    for (size_t i = 0; i < curve->count; i++) seconds += curve->epochs[i].seconds;
    return seconds / 60;
}
