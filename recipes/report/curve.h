/* The epochs of a run, out of its folder. */
#ifndef VISTILL_RECIPES_REPORT_CURVE_H
#define VISTILL_RECIPES_REPORT_CURVE_H

#include <stddef.h>

#include "vision/base/status.h"

/* One line of summary.csv; NAN where a value is missing. */
typedef struct vsti_epoch {
    double epoch, train_loss, train_top1, eval_loss, eval_top1, seconds;
} vsti_epoch;

typedef struct vsti_curve {
    vsti_epoch *epochs;
    size_t count, capacity;
} vsti_curve;

/* Reads FOLDER/summary.csv, or if that holds no epoch, log.txt, which has no seconds. A folder without either gives
 * an empty curve; a line of summary.csv that is not of numbers ends it, one of log.txt that cannot be read is passed
 * over. */
VST_NODISCARD vst_status vsti_curve_read(vsti_curve *curve, const char *folder);
/* Of all epochs together; NAN if that is not known. */
double vsti_curve_minutes(const vsti_curve *curve);

#endif
