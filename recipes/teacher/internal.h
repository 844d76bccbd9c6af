/* Declarations shared by the files of this folder. */
#ifndef VISTILL_RECIPES_TEACHER_INTERNAL_H
#define VISTILL_RECIPES_TEACHER_INTERNAL_H

#include "recipes/teacher/cache/internal.h"
#include "recipes/teacher/teacher.h"

/* Updates the moving average (average.c): trained values are copied from `average`, running statistics from the
 * student's parameters. The student's parameters start with the model's, in the same order. */
void vsti_sync_average(const vsti_teacher *teacher, vst_params *student, const float *average);

/* From `count` images' values of the teacher's tap to what the student gets: of class scores those of its classes
 * (scores.c). */
void vsti_take_scores(const vsti_teacher *teacher, const vsti_teacher_tap *tap, const float *values, int count,
                      float *target);
/* Reads the taps of the last batch (cached.c). */
VST_NODISCARD vst_status vsti_read_cached(const vsti_teachers *teachers, const vsti_teacher *teacher);
/* Describes the cache that the recipe needs with these teachers, without reading any. `cache` must be {0} (cached.c).
 */
VST_NODISCARD vst_status vsti_teachers_describe_cache(const vsti_teachers *teachers, const vst_recipe *recipe,
                                                      const vsti_cache_data *data, vsti_cache *cache);

#endif
