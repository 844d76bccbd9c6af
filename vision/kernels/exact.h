/* Included in place of isa.h by files whose functions give the same bits on every instruction set: cmake/Kernels.cmake
 * compiles them without contraction to fused multiply-adds and with signed zeros. Sums must be added in source order
 * (no `#pragma omp simd reduction`, no vsti_row_sum). */
#ifndef VISTILL_VISION_KERNELS_EXACT_H
#define VISTILL_VISION_KERNELS_EXACT_H

#include "vision/kernels/isa.h"

#endif
