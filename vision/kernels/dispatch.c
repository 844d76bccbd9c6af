/* Chooses the widest instruction set that the processor supports and VISTILL_ISA allows. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vision/kernels/kernels.h"

extern const vsti_kernels vsti_table_generic, vsti_table_avx2, vsti_table_avx512;

/* From narrow to wide. */
static const vsti_kernels *const tables[] = {&vsti_table_generic, &vsti_table_avx2, &vsti_table_avx512};
enum { TABLES = sizeof tables / sizeof tables[0] };

static bool is_supported(const vsti_kernels *table) {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (table == &vsti_table_generic) return true;
    if (table == &vsti_table_avx2) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const vsti_kernels *vsti_find_kernels(const char *isa) {
    for (int i = 0; i < TABLES; i++)
        if (strcmp(tables[i]->isa, isa) == 0) return is_supported(tables[i]) ? tables[i] : NULL;
    return NULL;
}

/* The widest supported table up to the one named by VISTILL_ISA; an unknown name does not limit the choice. */
static const vsti_kernels *choose(void) {
    const char *limit = getenv("VISTILL_ISA");
    const vsti_kernels *best = tables[0];
    for (int i = 0; i < TABLES; i++) {
        if (is_supported(tables[i])) best = tables[i];
        if (limit && strcmp(tables[i]->isa, limit) == 0) break;
    }
    return best;
}

const vsti_kernels *vsti_get_kernels(void) {
    static const vsti_kernels *_Atomic chosen;
    const vsti_kernels *table = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!table) {
        table = choose(); /* a race is harmless: all threads choose the same table */
        atomic_store_explicit(&chosen, table, memory_order_relaxed);
    }
    return table;
}
