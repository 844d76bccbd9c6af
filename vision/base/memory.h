/* Memory allocation. All allocations of the library use these functions, so that a test can make the n-th one fail. All
 * functions are thread-safe. Memory is freed with vst_free (NULL allowed). */
#ifndef VISTILL_VISION_BASE_MEMORY_H
#define VISTILL_VISION_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

VST_BEGIN_DECLS

#define VST_ALIGNMENT 64 /* bytes; a cache line and a 512-bit vector */

void *vst_alloc(size_t bytes);               /* uninitialised; NULL on failure */
void *vst_calloc(size_t count, size_t size); /* zeroed; NULL on failure or overflow */
void *vst_realloc(void *old, size_t bytes);  /* NULL on failure, `old` stays valid */
void *vst_alloc_aligned(size_t bytes);       /* aligned to VST_ALIGNMENT, uninitialised */
void vst_free(void *pointer);
/* Zeroed memory straight from the system, to which vst_free_pages returns it at once. For large memory of a short life:
 * malloc keeps freed blocks of up to 32 MB in its heap. NULL on failure. */
void *vst_alloc_pages(size_t bytes);
void vst_free_pages(void *pages, size_t bytes); /* `bytes` as allocated; NULL allowed */
char *vst_strdup(const char *text);             /* NULL on failure or if text is NULL */
char *vst_format(const char *format, ...)
    VST_PRINTF(1, 2); /* printf to a new string; free it with vst_free; NULL on failure */

/* Sets the error message for a failed allocation and returns VST_ERROR_MEMORY. */
VST_NODISCARD vst_status vst_fail_memory(size_t bytes);

/* *product = a * b; false on overflow. */
static inline bool vst_multiply(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }

/* Grows an array, if necessary, to at least `needed` elements of `size` bytes, by doubling its capacity. */
VST_NODISCARD vst_status vst_grow(void *array_pointer, size_t *capacity, size_t needed, size_t size);

/* Test hooks. fail_at(n): the n-th allocation from now on fails once (n = 1 is the next one); 0 disables it. count()
 * and bytes(): number and requested bytes of all allocations since the start of the process, freed or not. A training
 * or inference loop must not change them. */
void vst_memory_fail_at(uint64_t n);
uint64_t vst_memory_count(void);
uint64_t vst_memory_bytes(void);

VST_END_DECLS
#endif
