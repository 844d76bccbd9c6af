/* A clock that only goes forward. */
#ifndef VISTILL_VISION_BASE_CLOCK_H
#define VISTILL_VISION_BASE_CLOCK_H

double vst_seconds(void); /* from an arbitrary beginning */

#endif
