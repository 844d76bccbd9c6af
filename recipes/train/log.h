/* What a training reports: messages, log.txt and summary.csv. */
#ifndef VISTILL_RECIPES_TRAIN_LOG_H
#define VISTILL_RECIPES_TRAIN_LOG_H

#include "recipes/train/internal.h"

/* Before the first step: student, teachers, losses, data, schedule. */
void vsti_log_setup(const vsti_trainer *trainer);
/* After it: each term's share of the loss and of the gradient, and what it costs. */
void vsti_log_loss_shares(const vsti_trainer *trainer);
/* A line of log.txt while an epoch runs. */
void vsti_log_step(vsti_trainer *trainer);
/* A line of steps.csv for the step that was just made, of its batches' means. */
void vsti_log_update(vsti_trainer *trainer, double norm, double rate);
/* The epoch in the log, log.txt, summary.csv and TensorBoard's events. */
void vsti_log_epoch(vsti_trainer *trainer);
/* Calls options.progress; `phase` as in vst_train_progress. */
void vsti_notify_progress(const vsti_trainer *trainer, const char *phase);

#endif
