/* Logging of a training run: messages, log.txt and summary.csv. */
#ifndef VISTILL_RECIPES_TRAIN_LOG_H
#define VISTILL_RECIPES_TRAIN_LOG_H

#include "recipes/train/internal.h"

/* Logs student, teachers, losses, data and schedule before the first step. */
void vsti_log_setup(const vsti_trainer *trainer);
/* Logs each term's share of loss and gradient and its time, after the first step. */
void vsti_log_loss_shares(const vsti_trainer *trainer);
/* Appends a line to log.txt within an epoch. */
void vsti_log_step(vsti_trainer *trainer);
/* Appends a line for the last step, with means over its batches, to steps.csv. */
void vsti_log_update(vsti_trainer *trainer, double norm, double rate);
/* Writes the results of an epoch to the log, log.txt, summary.csv and TensorBoard's events. */
void vsti_log_epoch(vsti_trainer *trainer);
/* Calls options.progress; `phase` as in vst_train_progress. */
void vsti_notify_progress(const vsti_trainer *trainer, const char *phase);

#endif
