/* A small matrix product for attention and Winograd's convolution: its operands fit in the L1 and L2 caches, so they
 * are not packed, and a tile of the result stays in registers. Written with GCC's vector extension. */
#ifndef VISTILL_VISION_KERNELS_GEMM_H
#define VISTILL_VISION_KERNELS_GEMM_H

#include <stdbool.h>

#include "vision/kernels/isa.h"

/* Rows of a tile with two and with three vectors per row: as many as leave registers for the vectors of b and one of
 * a. */
#if defined VSTI_ISA_avx512
enum { VSTI_TILE_ROWS = 12, VSTI_WIDE_ROWS = 8 };
#else
enum { VSTI_TILE_ROWS = 6, VSTI_WIDE_ROWS = 4 };
#endif

typedef struct vsti_product {
    int64_t inner; /* columns of a, rows of b */
    const float *a;
    int64_t a_row, a_column; /* any strides: a or its transpose */
    const float *b;
    int64_t b_row; /* rows contiguous, padded to whole vectors */
    float *c;
    int64_t c_row;   /* rows contiguous, padded to whole vectors */
    bool accumulate; /* c += a b instead of c = a b */
} vsti_product;

/* One tile; rows and vectors are constants at every call site. */
static inline __attribute__((always_inline)) void vsti_tile(int rows, int vectors, const vsti_product *p, int64_t row,
                                                            int64_t column) {
    vsti_vector sum[VSTI_TILE_ROWS][3];
    const int64_t inner = p->inner, a_row = p->a_row, a_column = p->a_column, b_row = p->b_row, c_row = p->c_row;
    const float *a = p->a + row * a_row, *b = p->b + column;
    float *c = p->c + row * c_row + column;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) sum[i][j] = (vsti_vector){0};
    for (int64_t k = 0; k < inner; k++, a += a_column, b += b_row) {
        vsti_vector right[3];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) right[j] = vsti_load(b + j * VSTI_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) sum[i][j] += a[i * a_row] * right[j];
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            vsti_vector *out = (vsti_vector *)(c + i * c_row + j * VSTI_LANES);
            if (p->accumulate) *out += sum[i][j];
            else *out = sum[i][j];
        }
}

static inline __attribute__((always_inline)) void vsti_tile_of(int rows, int vectors, const vsti_product *p,
                                                               int64_t row, int64_t column) {
    switch (rows) {
    case 1: vsti_tile(1, vectors, p, row, column); break;
    case 2: vsti_tile(2, vectors, p, row, column); break;
    case 3: vsti_tile(3, vectors, p, row, column); break;
    case 4: vsti_tile(4, vectors, p, row, column); break;
    case 5: vsti_tile(5, vectors, p, row, column); break;
    case 6: vsti_tile(6, vectors, p, row, column); break;
#if defined VSTI_ISA_avx512
    case 7: vsti_tile(7, vectors, p, row, column); break;
    case 8: vsti_tile(8, vectors, p, row, column); break;
    case 9: vsti_tile(9, vectors, p, row, column); break;
    case 10: vsti_tile(10, vectors, p, row, column); break;
    case 11: vsti_tile(11, vectors, p, row, column); break;
    case 12: vsti_tile(12, vectors, p, row, column); break;
#endif
    }
}

/* All rows of some vectors, split into tiles of nearly equal height, so that every tile is high enough to hide the
 * latency of the multiply-add. */
static inline __attribute__((always_inline)) void vsti_columns(int vectors, int highest, const vsti_product *p,
                                                               int64_t rows, int64_t vector) {
    const int64_t tiles = (rows + highest - 1) / highest;
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t begin = rows * tile / tiles, height = rows * (tile + 1) / tiles - begin;
        vsti_tile_of((int)height, vectors, p, begin, vector * VSTI_LANES);
    }
}

/* c (rows, vectors * lanes) from a (rows, inner) and b (inner, vectors * lanes). An odd number of vectors ends with a
 * tile of three, because a tile of one has too few sums to hide the latency. */
static void vsti_gemm(const vsti_product *p, int64_t rows, int64_t vectors) {
    int64_t vector = 0;
    for (; vectors - vector >= 2 && vectors - vector != 3; vector += 2)
        vsti_columns(2, VSTI_TILE_ROWS, p, rows, vector);
    if (vectors - vector == 3) vsti_columns(3, VSTI_WIDE_ROWS, p, rows, vector);
    else if (vectors - vector == 1) vsti_columns(1, VSTI_TILE_ROWS, p, rows, vector);
}

#endif
