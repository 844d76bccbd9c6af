/* The epochs of a run. */
#ifndef VISTILL_RECIPES_REPORT_CURVE_H
#define VISTILL_RECIPES_REPORT_CURVE_H

#include <stddef.h>

#include "vision/base/status.h"

enum { VSTI_CURVE_LOSSES = 17, VSTI_LOSS_NAME = 64 };

/* One line of summary.csv, with the losses of log.txt; NAN where a value is missing. */
typedef struct vsti_epoch {
    double epoch, train_loss, train_top1, eval_loss, eval_top1, seconds, rate;
    double losses[VSTI_CURVE_LOSSES]; /* of the labels and of each term, before their weights */
} vsti_epoch;

typedef struct vsti_curve {
    vsti_epoch *epochs;
    size_t count, capacity;
    char names[VSTI_CURVE_LOSSES][VSTI_LOSS_NAME]; /* of the losses: "labels", "0 kl", "1 mse" */
    int loss_count;                                /* 0: the training had no terms */
} vsti_curve;

/* Reads FOLDER/summary.csv, or if it has no epoch, log.txt (without seconds), and the losses of log.txt. Without both
 * files the curve is empty. Reading of summary.csv stops at a line that is not numeric; invalid lines of log.txt are
 * skipped. */
VST_NODISCARD vst_status vsti_curve_read(vsti_curve *curve, const char *folder);
/* Seconds of all epochs; NAN if unknown. */
double vsti_curve_minutes(const vsti_curve *curve);

#endif
