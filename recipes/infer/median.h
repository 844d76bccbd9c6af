/* The median of measured times. */
#ifndef VISTILL_RECIPES_INFER_MEDIAN_H
#define VISTILL_RECIPES_INFER_MEDIAN_H

/* Sorts the values; count > 0. */
double vst_median(double *values, int count);

#endif
