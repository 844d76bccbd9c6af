/* A monotonic clock. */
#ifndef VISTILL_VISION_BASE_CLOCK_H
#define VISTILL_VISION_BASE_CLOCK_H

double vst_seconds(void); /* seconds since an arbitrary start */

#endif
