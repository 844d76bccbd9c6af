/* The allocation wrapper with its "fail the n-th" hook. */
#include "vision/base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_uint_fast64_t allocations, allocated_bytes;
static atomic_int_fast64_t countdown; /* if positive: the allocation that brings it to 0 fails */

static bool refused(size_t bytes) {
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&allocated_bytes, bytes, memory_order_relaxed);
    if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0) return false;
    return atomic_fetch_sub_explicit(&countdown, 1, memory_order_relaxed) == 1;
}

void *vst_alloc(size_t bytes) { return refused(bytes) ? NULL : malloc(bytes ? bytes : 1); }

void *vst_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!vst_multiply(count, size, &bytes) || refused(bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *vst_realloc(void *old, size_t bytes) { return refused(bytes) ? NULL : realloc(old, bytes ? bytes : 1); }

void *vst_alloc_aligned(size_t bytes) {
    void *pointer;
    if (refused(bytes)) return NULL;
    return posix_memalign(&pointer, VST_ALIGNMENT, bytes ? bytes : 1) == 0 ? pointer : NULL;
}

void vst_free(void *pointer) { free(pointer); }

void *vst_alloc_pages(size_t bytes) {
    if (refused(bytes)) return NULL;
    void *pages = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void vst_free_pages(void *pages, size_t bytes) {
    if (pages) munmap(pages, bytes ? bytes : 1);
}

char *vst_strdup(const char *text) {
    if (!text) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = vst_alloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

char *vst_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : vst_alloc((size_t)length + 1);
    if (!text) return NULL;
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

vst_status vst_fail_memory(size_t bytes) {
    return vst_fail(VST_ERROR_MEMORY, "out of memory (%zu bytes asked for): use a smaller batch or model", bytes);
}

vst_status vst_grow(void *array_pointer, size_t *capacity, size_t needed, size_t size) {
    if (needed <= *capacity) return VST_OK;
    size_t wanted = *capacity ? *capacity * 2 : 16, bytes;
    if (wanted < needed) wanted = needed;
    if (!vst_multiply(wanted, size, &bytes)) return vst_fail_memory(SIZE_MAX);
    void *old, *grown;
    memcpy(&old, array_pointer, sizeof old); /* array_pointer is a T ** for any T */
    grown = vst_realloc(old, bytes);
    if (!grown) return vst_fail_memory(bytes);
    memcpy(array_pointer, &grown, sizeof grown);
    *capacity = wanted;
    return VST_OK;
}

void vst_memory_fail_at(uint64_t n) { atomic_store(&countdown, (int_fast64_t)n); }

uint64_t vst_memory_count(void) { return atomic_load(&allocations); }

uint64_t vst_memory_bytes(void) { return atomic_load(&allocated_bytes); }
