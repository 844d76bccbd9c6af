/* The one door to the heap. Every allocation of the product goes through here, so that a test can let the n-th fail.
 * All functions are thread-safe. Memory is given back with vst_free (NULL allowed). */
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
char *vst_strdup(const char *text);                         /* NULL on failure or if text is NULL */
char *vst_format(const char *format, ...) VST_PRINTF(1, 2); /* a formatted string to vst_free, NULL on failure */

/* The text for a failed allocation; returns VST_ERROR_MEMORY. */
VST_NODISCARD vst_status vst_fail_memory(size_t bytes);

/* *product = a * b; false on overflow. */
static inline bool vst_multiply(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }

/* Makes room for `needed` elements of `size` bytes in a growing array; doubles the capacity. */
VST_NODISCARD vst_status vst_grow(void *array_pointer, size_t *capacity, size_t needed, size_t size);

/* Test hooks. fail_at(n): the n-th allocation from now on fails once (n = 1 is the next one); 0 switches off.
 * count() and bytes(): number of allocations since the process began and the bytes that they asked for, freed or not; a
 * step loop must not change them. */
void vst_memory_fail_at(uint64_t n);
uint64_t vst_memory_count(void);
uint64_t vst_memory_bytes(void);

VST_END_DECLS
#endif
