/* The epochs of a run: from its summary.csv, or where that is missing from its log.txt. */
#include "recipes/report/curve.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"

enum { COLUMNS = 6, CSV_COLUMNS = 32, LINE = 16384, EPOCHS = 100000 };

static const char *const csv_names[COLUMNS] = {"epoch",     "train_loss", "train_top1",
                                               "eval_loss", "eval_top1",  "seconds"};
static const char *const log_names[COLUMNS] = {"epoch",     "train_loss", "train_acc1",
                                               "test_loss", "test_acc1",  "seconds"};

static vst_status add_epoch(vsti_curve *curve, const double values[COLUMNS]) {
    const vst_status status = vst_grow(&curve->epochs, &curve->capacity, curve->count + 1, sizeof *curve->epochs);
    if (status != VST_OK) return status;
    curve->epochs[curve->count++] = (vsti_epoch){values[0], values[1], values[2], values[3], values[4], values[5]};
    return VST_OK;
}

/* The index of each column, by the names of the first line; -1: missing. */
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
        if (!parse_csv(line, places, values)) break; /* a run that was killed may leave half a line */
        VST_TRY(add_epoch(curve, values));
    }
out:
    return status;
}

/* Lines of a whole epoch have its accuracy on the test split; others are written while an epoch runs. */
static bool parse_log(const char *line, double values[COLUMNS]) {
    json_t *object = json_loads(line, 0, NULL);
    const bool whole = json_object_get(object, "test_acc1") != NULL;
    for (int i = 0; i < COLUMNS; i++) {
        const json_t *value = json_object_get(object, log_names[i]);
        values[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    json_decref(object);
    return whole && isfinite(values[0]);
}

static vst_status read_log(FILE *file, vsti_curve *curve) {
    vst_status status = VST_OK;
    char line[LINE];
    double values[COLUMNS];
    while (curve->count < EPOCHS && fgets(line, sizeof line, file))
        if (parse_log(line, values)) VST_TRY(add_epoch(curve, values));
out:
    return status;
}

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
out:
    return status;
}

double vsti_curve_minutes(const vsti_curve *curve) {
    double seconds = curve->count ? 0 : NAN;
    for (size_t i = 0; i < curve->count; i++) seconds += curve->epochs[i].seconds;
    return seconds / 60;
}
