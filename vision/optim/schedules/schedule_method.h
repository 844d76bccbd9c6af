/* Learning-rate schedules: one file of this folder each, with the options that it has; CMake makes the table. */
#ifndef VISTILL_VISION_OPTIM_SCHEDULES_SCHEDULE_METHOD_H
#define VISTILL_VISION_OPTIM_SCHEDULES_SCHEDULE_METHOD_H

#include "vision/optim/optim.h"

typedef struct vst_schedule_method {
    const char *name, *help;   /* the file's name; one line for `vistill explain` */
    const vst_option *options; /* table of its own options; NULL: none */
    size_t options_size;
    /* The rate `after` steps from where the schedule begins, which is the end of the warm-up, or with `whole` the run's
     * first step; never called for steps of the warm-up. own: its options, NULL if it has none. */
    double (*rate)(const vst_schedule *schedule, const void *own, uint64_t after);
    /* Takes an epoch's measure, of which more is better, into schedule->state; NULL: the rate is a function of time. */
    void (*measured)(const vst_schedule *schedule, const void *own, double measure);
} vst_schedule_method;

/* In alphabetical order; index < vst_schedule_method_count(). NULL if there is none of that name. */
size_t vst_schedule_method_count(void);
const vst_schedule_method *vst_schedule_method_at(size_t index);
const vst_schedule_method *vst_schedule_method_find(const char *name);

#endif
