/* Learning-rate schedules: one file of this folder each, with its own options; CMake generates the table. */
#ifndef VISTILL_VISION_OPTIM_SCHEDULES_SCHEDULE_METHOD_H
#define VISTILL_VISION_OPTIM_SCHEDULES_SCHEDULE_METHOD_H

#include "vision/optim/optim.h"

typedef struct vst_schedule_method {
    const char *name, *help;   /* name: that of the file; help: one line for `vistill explain` */
    const vst_option *options; /* table of its own options; NULL: none */
    size_t options_size;
    /* The rate `after` steps from the start of the schedule, which is the end of the warm-up, or with `whole` the first
     * step of the run. Not called during the warm-up. own: its options, NULL if it has none. */
    double (*rate)(const vst_schedule *schedule, const void *own, uint64_t after);
    /* Updates schedule->state with an epoch's measure (more is better). NULL: the rate depends on time only. */
    void (*measured)(const vst_schedule *schedule, const void *own, double measure);
} vst_schedule_method;

/* All methods in alphabetical order, index < vst_schedule_method_count(); or by name, NULL if there is none. */
size_t vst_schedule_method_count(void);
const vst_schedule_method *vst_schedule_method_at(size_t index);
const vst_schedule_method *vst_schedule_method_find(const char *name);

#endif
