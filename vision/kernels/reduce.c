/* Sums over any set of dimensions: in float along the innermost one, then in double and in order. */
#include "vision/kernels/exact.h"

static int64_t offset_of(int64_t index, int rank, const int64_t *dims, const int64_t *strides) {
    int64_t offset = 0;
    for (int i = rank; i-- > 0; index /= dims[i]) offset += index % dims[i] * strides[i];
    return offset;
}

void K(reduce)(const vsti_reduction *r, const float *x, float *out) {
    const int inner = r->reduced - 1;
    const int64_t length = r->reduced ? r->reduced_dim[inner] : 1, step = r->reduced ? r->reduced_stride[inner] : 0;
#pragma omp parallel for schedule(static) if (r->kept_count * r->reduced_count > VSTI_PARALLEL)
    for (int64_t k = 0; k < r->kept_count; k++) {
        const float *start = x + offset_of(k, r->kept, r->kept_dim, r->kept_stride);
        double sum = 0;
        for (int64_t row = 0; row < r->reduced_count / length; row++) {
            const float *from = start + offset_of(row, inner, r->reduced_dim, r->reduced_stride);
            float part = 0;
            for (int64_t i = 0; i < length; i++) part += from[i * step];
            sum += (double)part;
        }
        out[k] = (float)sum * r->factor;
    }
}
