/* What the files of this folder share. */
#ifndef VISTILL_RECIPES_TEACHER_INTERNAL_H
#define VISTILL_RECIPES_TEACHER_INTERNAL_H

#include "recipes/teacher/cache/internal.h"
#include "recipes/teacher/teacher.h"

/* Brings the moving average up to date: trained values from `average`, running statistics from the student's
 * parameters, which begin with the model's, in the same order (average.c). */
void vsti_sync_average(const vsti_teacher *teacher, vst_params *student, const float *average);

/* From `count` images' values of the teacher's tap to what the student gets: of class scores those of its classes
 * (online.c). */
void vsti_take_scores(const vsti_teacher *teacher, const vsti_teacher_tap *tap, const float *values, int count,
                      float *target);
/* Reads the taps of the last batch (cached.c). */
VST_NODISCARD vst_status vsti_read_cached(const vsti_teachers *teachers, const vsti_teacher *teacher);
/* What the cache of these teachers must be for the recipe; nothing is read. Starts as {0} (cached.c). */
VST_NODISCARD vst_status vsti_teachers_describe_cache(const vsti_teachers *teachers, const vst_recipe *recipe,
                                                      const vsti_cache_data *data, vsti_cache *cache);

#endif
