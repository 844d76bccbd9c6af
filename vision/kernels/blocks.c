/* Copies blocks of rows between tensors of different widths, for slices, concatenation and their gradients. */
#include <string.h>

#include "vision/kernels/exact.h"

void K(copy_blocks)(const vsti_block_copy *b, const float *from, float *to) {
    for (int64_t i = 0; i < b->outer; i++)
        memcpy(to + i * b->to_width + b->to_start, from + i * b->from_width + b->from_start,
               (size_t)b->count * sizeof *to);
}

void K(pad_blocks)(const vsti_block_copy *b, const float *from, float *to) {
    memset(to, 0, (size_t)(b->outer * b->to_width) * sizeof *to);
    K(copy_blocks)(b, from, to);
}

void K(add_blocks)(const vsti_block_copy *b, const float *from, const float *sum, float *to) {
    if (to != sum) memcpy(to, sum, (size_t)(b->outer * b->to_width) * sizeof *to);
    for (int64_t i = 0; i < b->outer; i++) {
        const float *x = from + i * b->from_width + b->from_start;
        float *y = to + i * b->to_width + b->to_start;
        for (int64_t k = 0; k < b->count; k++) y[k] += x[k];
    }
}
