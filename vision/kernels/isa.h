/* For the files of this folder only: the name suffix of the instruction set being compiled, its vector width, and
 * branch-free scalar functions that compilers vectorise inside `#pragma omp simd` loops. */
#ifndef VISTILL_VISION_KERNELS_ISA_H
#define VISTILL_VISION_KERNELS_ISA_H

#include "vision/kernels/kernels.h"

#define VSTI_JOIN2(a, b) a##_##b
#define VSTI_JOIN(a, b) VSTI_JOIN2(a, b)
/* K(add) is add_avx2 when this file is compiled for AVX2. */
#define K(name) VSTI_JOIN(vsti_##name, VSTI_ISA)

#if defined VSTI_ISA_avx512
enum { VSTI_LANES = 16 };
#elif defined VSTI_ISA_avx2
enum { VSTI_LANES = 8 };
#else
enum { VSTI_LANES = 4 };
#endif

#endif
