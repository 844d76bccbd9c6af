/* Naive kernels in double; see reference.h. */
#include "tests/unit/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Tensors ---- */

int64_t ref_count(const ref *tensor) { return vst_shape_count(&tensor->shape); }

ref ref_make(vst_shape shape) {
    ref tensor = {.shape = shape, .room = vst_shape_count(&shape)};
    tensor.data = calloc((size_t)tensor.room, sizeof *tensor.data);
    if (!tensor.data) abort();
    return tensor;
}

void ref_free(ref *tensor) {
    free(tensor->data);
    *tensor = (ref){0};
}

void ref_set_shape(ref *out, vst_shape shape) {
    if (vst_shape_count(&shape) > out->room) {
        char text[VST_SHAPE_TEXT];
        fprintf(stderr, "reference: %s does not fit in %lld elements\n", vst_shape_text(&shape, text),
                (long long)out->room);
        abort();
    }
    out->shape = shape;
}

static int64_t last_of(const vst_shape *shape) { return shape->rank ? shape->dim[shape->rank - 1] : 1; }

static double *at4(const ref *t, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t *n = t->shape.dim;
    return &t->data[((a * n[1] + b) * n[2] + c) * n[3] + d];
}

/* The indices of element `flat` of a tensor of this shape. */
static void indices_of(int64_t flat, const vst_shape *shape, int64_t index[VST_MAX_RANK]) {
    for (int i = shape->rank; i-- > 0; flat /= shape->dim[i]) index[i] = flat % shape->dim[i];
}

static int64_t flat_of(const int64_t *index, const vst_shape *shape) {
    int64_t flat = 0;
    for (int i = 0; i < shape->rank; i++) flat = flat * shape->dim[i] + index[i];
    return flat;
}

/* ---- Layers ---- */

static int64_t extent(int64_t in, const ref_window *w) {
    const double windows = (double)(in + 2 * w->padding - w->dilation * (w->kernel - 1) - 1) / w->stride + 1;
    if (w->same) return (int64_t)ceil((double)in / w->stride);
    if (!w->ceil) return (int64_t)floor(windows);
    const int64_t most = (int64_t)ceil(windows);
    return (most - 1) * w->stride >= in + w->padding ? most - 1 : most;
}

/* Rows or columns of padding before the input. TensorFlow spreads what is missing, one more behind than before. */
static int64_t padding_before(int64_t in, const ref_window *w) {
    if (!w->same) return w->padding;
    const int64_t total = (extent(in, w) - 1) * w->stride + (w->kernel - 1) * w->dilation + 1 - in;
    return total > 0 ? total / 2 : 0;
}

void ref_conv2d(const ref *x, const ref *weight, const ref *bias, ref_window w, ref *out) {
    const int64_t *in = x->shape.dim, channels = weight->shape.dim[0], in_group = in[1] / w.groups,
                  out_group = channels / w.groups;
    const int64_t top = padding_before(in[2], &w), left = padding_before(in[3], &w);
    ref_set_shape(out, VST_SHAPE(in[0], channels, extent(in[2], &w), extent(in[3], &w)));
    for (int64_t n = 0; n < in[0]; n++)
        for (int64_t o = 0; o < channels; o++)
            for (int64_t y = 0; y < out->shape.dim[2]; y++)
                for (int64_t z = 0; z < out->shape.dim[3]; z++) {
                    double sum = bias ? bias->data[o] : 0;
                    for (int64_t c = 0; c < in_group; c++)
                        for (int64_t i = 0; i < w.kernel; i++)
                            for (int64_t j = 0; j < w.kernel; j++) {
                                const int64_t row = y * w.stride - top + i * w.dilation;
                                const int64_t col = z * w.stride - left + j * w.dilation;
                                if (row < 0 || col < 0 || row >= in[2] || col >= in[3]) continue;
                                sum += *at4(weight, o, c, i, j) * *at4(x, n, o / out_group * in_group + c, row, col);
                            }
                    *at4(out, n, o, y, z) = sum;
                }
}

void ref_linear(const ref *x, const ref *weight, const ref *bias, ref *out) {
    const int64_t features = weight->shape.dim[0], k = weight->shape.dim[1], rows = ref_count(x) / k;
    vst_shape shape = x->shape;
    shape.dim[shape.rank - 1] = features;
    ref_set_shape(out, shape);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0; f < features; f++) {
            double sum = bias ? bias->data[f] : 0;
            for (int64_t i = 0; i < k; i++) sum += x->data[r * k + i] * weight->data[f * k + i];
            out->data[r * features + f] = sum;
        }
}

void ref_matmul(const ref *a, const ref *b, bool transpose_a, bool transpose_b, ref *out) {
    const int64_t *da = a->shape.dim + a->shape.rank - 2, *db = b->shape.dim + b->shape.rank - 2;
    const int64_t m = da[transpose_a ? 1 : 0], k = da[transpose_a ? 0 : 1], n = db[transpose_b ? 0 : 1];
    const int64_t batch = ref_count(a) / (m * k), batch_b = ref_count(b) / (k * n);
    vst_shape shape = a->shape;
    shape.dim[shape.rank - 2] = m;
    shape.dim[shape.rank - 1] = n;
    ref_set_shape(out, shape);
    for (int64_t s = 0; s < batch; s++) {
        const double *x = a->data + s * m * k, *y = b->data + (batch_b == 1 ? 0 : s) * k * n;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t l = 0; l < k; l++)
                    sum += x[transpose_a ? l * m + i : i * k + l] * y[transpose_b ? j * k + l : l * n + j];
                out->data[(s * m + i) * n + j] = sum;
            }
    }
}

void ref_batch_norm(const ref *x, const ref *weight, const ref *bias, double epsilon, ref *out, double *mean_out,
                    double *variance_out) {
    const int64_t *d = x->shape.dim, inner = d[2] * d[3], count = d[0] * inner;
    ref_set_shape(out, x->shape);
    for (int64_t c = 0; c < d[1]; c++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < count; i++) mean += x->data[(i / inner * d[1] + c) * inner + i % inner] / (double)count;
        for (int64_t i = 0; i < count; i++)
            variance += pow(x->data[(i / inner * d[1] + c) * inner + i % inner] - mean, 2) / (double)count;
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = (i / inner * d[1] + c) * inner + i % inner;
            out->data[at] = (x->data[at] - mean) / sqrt(variance + epsilon) * weight->data[c] + bias->data[c];
        }
        if (mean_out) mean_out[c] = mean;
        if (variance_out) variance_out[c] = variance;
    }
}

/* Mean and sum of squared differences from it. */
static double row_mean(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}
static double row_squares(const double *x, double mean, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

void ref_layer_norm(const ref *x, const ref *weight, const ref *bias, double epsilon, ref *out) {
    const int64_t cols = last_of(&x->shape), rows = ref_count(x) / cols;
    ref_set_shape(out, x->shape);
    for (int64_t r = 0; r < rows; r++) {
        const double *from = x->data + r * cols, mean = row_mean(from, cols);
        const double deviation = sqrt(row_squares(from, mean, cols) / (double)cols + epsilon);
        for (int64_t i = 0; i < cols; i++)
            out->data[r * cols + i] = (from[i] - mean) / deviation * weight->data[i] + bias->data[i];
    }
}

/* ---- Activations ---- */

void ref_map(const ref *x, double (*function)(double), ref *out) {
    ref_set_shape(out, x->shape);
    for (int64_t i = 0; i < ref_count(x); i++) out->data[i] = function(x->data[i]);
}

double ref_relu(double x) { return x > 0 ? x : 0; }
double ref_relu6(double x) { return fmin(fmax(x, 0), 6); }
double ref_gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2))); }
double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
double ref_silu(double x) { return x * ref_sigmoid(x); }
double ref_hardswish(double x) { return x * ref_relu6(x + 3) / 6; }

/* ---- Arithmetic ---- */

/* Element of `x` at the indices of the larger shape. */
static double broadcast_element(const ref *x, const int64_t *index, int rank) {
    int64_t own[VST_MAX_RANK];
    for (int i = 0; i < x->shape.rank; i++) own[i] = x->shape.dim[i] == 1 ? 0 : index[rank - x->shape.rank + i];
    return x->data[flat_of(own, &x->shape)];
}

static vst_shape broadcast_shape(const vst_shape *a, const vst_shape *b) {
    vst_shape out = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 0; i < out.rank; i++) {
        const int ia = i - (out.rank - a->rank), ib = i - (out.rank - b->rank);
        const int64_t x = ia < 0 ? 1 : a->dim[ia], y = ib < 0 ? 1 : b->dim[ib];
        out.dim[i] = x > y ? x : y;
    }
    return out;
}

void ref_add(const ref *a, const ref *b, ref *out) {
    ref_set_shape(out, broadcast_shape(&a->shape, &b->shape));
    for (int64_t i = 0; i < ref_count(out); i++) {
        int64_t index[VST_MAX_RANK];
        indices_of(i, &out->shape, index);
        out->data[i] = broadcast_element(a, index, out->shape.rank) + broadcast_element(b, index, out->shape.rank);
    }
}

void ref_mul(const ref *a, const ref *b, ref *out) {
    ref_set_shape(out, broadcast_shape(&a->shape, &b->shape));
    for (int64_t i = 0; i < ref_count(out); i++) {
        int64_t index[VST_MAX_RANK];
        indices_of(i, &out->shape, index);
        out->data[i] = broadcast_element(a, index, out->shape.rank) * broadcast_element(b, index, out->shape.rank);
    }
}

void ref_scale(const ref *x, double factor, ref *out) {
    ref_set_shape(out, x->shape);
    for (int64_t i = 0; i < ref_count(x); i++) out->data[i] = factor * x->data[i];
}

void ref_normalize(const ref *x, const double *mean, const double *deviation, ref *out) {
    const int64_t inner = x->shape.dim[2] * x->shape.dim[3];
    ref_set_shape(out, x->shape);
    for (int64_t i = 0; i < ref_count(x); i++) {
        const int64_t c = i / inner % x->shape.dim[1];
        out->data[i] = (x->data[i] - mean[c]) / deviation[c];
    }
}

void ref_standardize(const ref *x, ref *out) {
    const int64_t cols = last_of(&x->shape);
    ref_set_shape(out, x->shape);
    for (int64_t r = 0; r < ref_count(x) / cols; r++) {
        const double *from = x->data + r * cols, mean = row_mean(from, cols);
        const double deviation = sqrt(row_squares(from, mean, cols) / (double)(cols - 1)) + 1e-7;
        for (int64_t i = 0; i < cols; i++) out->data[r * cols + i] = (from[i] - mean) / deviation;
    }
}

void ref_unit(const ref *x, ref *out) {
    const int64_t cols = last_of(&x->shape);
    ref_set_shape(out, x->shape);
    for (int64_t r = 0; r < ref_count(x) / cols; r++) {
        const double length = sqrt(row_squares(x->data + r * cols, 0, cols));
        for (int64_t i = r * cols; i < (r + 1) * cols; i++) out->data[i] = x->data[i] / fmax(length, 1e-12);
    }
}

void ref_pairwise_distances(const ref *x, ref *out) {
    const int64_t rows = x->shape.dim[0], cols = x->shape.dim[1];
    double mean = 0;
    ref_set_shape(out, VST_SHAPE(rows, rows));
    for (int64_t i = 0; i < rows * rows; i++) {
        double sum = 0;
        for (int64_t k = 0; k < cols; k++) sum += pow(x->data[i / rows * cols + k] - x->data[i % rows * cols + k], 2);
        out->data[i] = i / rows == i % rows ? 0 : sqrt(fmax(sum, 1e-12));
        mean += out->data[i] / (double)(rows * (rows - 1));
    }
    for (int64_t i = 0; i < rows * rows; i++) out->data[i] /= mean;
}

/* ---- Shape ---- */

void ref_permute(const ref *x, const int *order, ref *out) {
    vst_shape shape = x->shape;
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = x->shape.dim[order[i]];
    ref_set_shape(out, shape);
    for (int64_t i = 0; i < ref_count(x); i++) {
        int64_t index[VST_MAX_RANK], own[VST_MAX_RANK] = {0};
        indices_of(i, &shape, index);
        for (int k = 0; k < shape.rank; k++) own[order[k]] = index[k];
        out->data[i] = x->data[flat_of(own, &x->shape)];
    }
}

void ref_slice(const ref *x, int axis, int64_t start, int64_t count, ref *out) {
    vst_shape shape = x->shape;
    shape.dim[axis] = count;
    ref_set_shape(out, shape);
    for (int64_t i = 0; i < ref_count(out); i++) {
        int64_t index[VST_MAX_RANK];
        indices_of(i, &shape, index);
        index[axis] += start;
        out->data[i] = x->data[flat_of(index, &x->shape)];
    }
}

void ref_concat(const ref *const *values, int count, int axis, ref *out) {
    vst_shape shape = values[0]->shape;
    for (int i = 1; i < count; i++) shape.dim[axis] += values[i]->shape.dim[axis];
    ref_set_shape(out, shape);
    for (int64_t i = 0; i < ref_count(out); i++) {
        int64_t index[VST_MAX_RANK];
        int from = 0;
        indices_of(i, &shape, index);
        while (index[axis] >= values[from]->shape.dim[axis]) index[axis] -= values[from++]->shape.dim[axis];
        out->data[i] = values[from]->data[flat_of(index, &values[from]->shape)];
    }
}

void ref_expand(const ref *x, vst_shape shape, ref *out) {
    ref_set_shape(out, shape);
    for (int64_t i = 0; i < ref_count(out); i++) {
        int64_t index[VST_MAX_RANK];
        indices_of(i, &shape, index);
        out->data[i] = broadcast_element(x, index, shape.rank);
    }
}

void ref_reduce(const ref *x, unsigned axes, bool keep, bool mean, ref *out) {
    vst_shape kept = x->shape, shape = {0};
    for (int i = 0; i < kept.rank; i++) {
        if (axes & 1u << i) kept.dim[i] = 1;
        if (keep || !(axes & 1u << i)) shape.dim[shape.rank++] = kept.dim[i];
    }
    ref_set_shape(out, shape);
    memset(out->data, 0, (size_t)ref_count(out) * sizeof *out->data);
    const double factor = mean ? (double)ref_count(out) / (double)ref_count(x) : 1;
    for (int64_t i = 0; i < ref_count(x); i++) {
        int64_t index[VST_MAX_RANK];
        indices_of(i, &x->shape, index);
        for (int k = 0; k < kept.rank; k++)
            if (axes & 1u << k) index[k] = 0;
        out->data[flat_of(index, &kept)] += factor * x->data[i];
    }
}

/* Weight of source position `at` for a sample at `x`: a triangle, or Keys' cubic with a = -0.75. */
static double resize_weight(double x, bool cubic) {
    const double a = -0.75, d = fabs(x);
    if (!cubic) return fmax(0, 1 - d);
    if (d <= 1) return (a + 2) * d * d * d - (a + 3) * d * d + 1;
    return d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a : 0;
}

static double resize_source(int64_t i, int64_t in, int64_t out, bool cubic) {
    const double x = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    return cubic ? x : fmax(x, 0);
}

static int64_t clamp(int64_t x, int64_t n) { return x < 0 ? 0 : x < n ? x : n - 1; }

void ref_resize(const ref *x, int height, int width, bool cubic, ref *out) {
    const int64_t *d = x->shape.dim;
    ref_set_shape(out, VST_SHAPE(d[0], d[1], height, width));
    for (int64_t p = 0; p < d[0] * d[1]; p++)
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++) {
                const double y = resize_source(i, d[2], height, cubic), z = resize_source(j, d[3], width, cubic);
                double sum = 0;
                for (int64_t r = (int64_t)floor(y) - 2; r <= (int64_t)floor(y) + 3; r++)
                    for (int64_t c = (int64_t)floor(z) - 2; c <= (int64_t)floor(z) + 3; c++)
                        sum += resize_weight(y - (double)r, cubic) * resize_weight(z - (double)c, cubic) *
                               x->data[(p * d[2] + clamp(r, d[2])) * d[3] + clamp(c, d[3])];
                out->data[(p * height + i) * width + j] = sum;
            }
}

void ref_area(const ref *x, int height, int width, ref *out) {
    const int64_t *d = x->shape.dim;
    ref_set_shape(out, VST_SHAPE(d[0], d[1], height, width));
    for (int64_t o = 0; o < ref_count(out); o++) {
        const int64_t plane = o / (height * width), i = o / width % height, j = o % width;
        double sum = 0, count = 0;
        for (int64_t r = 0; r < d[2]; r++)
            for (int64_t c = 0; c < d[3]; c++)
                if (r < ceil((double)(i + 1) * (double)d[2] / height) &&
                    r + 1 > floor((double)i * (double)d[2] / height) &&
                    c < ceil((double)(j + 1) * (double)d[3] / width) &&
                    c + 1 > floor((double)j * (double)d[3] / width)) {
                    sum += x->data[(plane * d[2] + r) * d[3] + c];
                    count++;
                }
        out->data[o] = sum / count;
    }
}

/* ---- Pooling ---- */

void ref_max_pool(const ref *x, ref_window w, ref *out) {
    const int64_t *d = x->shape.dim;
    w.dilation = 1;
    ref_set_shape(out, VST_SHAPE(d[0], d[1], extent(d[2], &w), extent(d[3], &w)));
    for (int64_t o = 0; o < ref_count(out); o++) {
        int64_t index[VST_MAX_RANK];
        indices_of(o, &out->shape, index);
        double best = -INFINITY;
        for (int64_t i = index[2] * w.stride - w.padding; i < index[2] * w.stride - w.padding + w.kernel; i++)
            for (int64_t j = index[3] * w.stride - w.padding; j < index[3] * w.stride - w.padding + w.kernel; j++)
                if (i >= 0 && j >= 0 && i < d[2] && j < d[3]) best = fmax(best, *at4(x, index[0], index[1], i, j));
        out->data[o] = best;
    }
}

void ref_avg_pool(const ref *x, ref_window w, bool count_padding, ref *out) {
    const int64_t *d = x->shape.dim;
    w.dilation = 1;
    ref_set_shape(out, VST_SHAPE(d[0], d[1], extent(d[2], &w), extent(d[3], &w)));
    for (int64_t o = 0; o < ref_count(out); o++) {
        int64_t index[VST_MAX_RANK], inside = 0;
        indices_of(o, &out->shape, index);
        double sum = 0;
        for (int64_t i = index[2] * w.stride - w.padding; i < index[2] * w.stride - w.padding + w.kernel; i++)
            for (int64_t j = index[3] * w.stride - w.padding; j < index[3] * w.stride - w.padding + w.kernel; j++)
                if (i >= 0 && j >= 0 && i < d[2] && j < d[3]) {
                    sum += *at4(x, index[0], index[1], i, j);
                    inside++;
                }
        out->data[o] = sum / (double)(count_padding ? w.kernel * w.kernel : inside);
    }
}

/* ---- Softmax and attention ---- */

static double log_sum_exp(const double *x, double factor, int64_t n) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, factor * x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(factor * x[i] - max);
    return max + log(sum);
}

void ref_softmax(const ref *x, bool logarithm, ref *out) {
    const int64_t cols = last_of(&x->shape);
    ref_set_shape(out, x->shape);
    for (int64_t i = 0; i < ref_count(x); i++) {
        const double log_p = x->data[i] - log_sum_exp(x->data + i / cols * cols, 1, cols);
        out->data[i] = logarithm ? log_p : exp(log_p);
    }
}

void ref_attention(const ref *qkv, int heads, int64_t queries, ref *out) {
    const int64_t batch = qkv->shape.dim[0], tokens = qkv->shape.dim[1], width = qkv->shape.dim[2] / 3,
                  d = width / heads;
    const int64_t rows = queries ? queries : tokens;
    ref_set_shape(out, VST_SHAPE(batch, rows, width));
    double *score = calloc((size_t)tokens, sizeof *score);
    if (!score) abort();
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < rows; i++) {
                const double *image = qkv->data + b * tokens * 3 * width, *q = image + i * 3 * width + h * d;
                for (int64_t j = 0; j < tokens; j++) {
                    const double *k = image + j * 3 * width + width + h * d;
                    score[j] = 0;
                    for (int64_t c = 0; c < d; c++) score[j] += q[c] * k[c] / sqrt((double)d);
                }
                const double total = log_sum_exp(score, 1, tokens);
                for (int64_t c = 0; c < d; c++) {
                    double sum = 0;
                    for (int64_t j = 0; j < tokens; j++)
                        sum += exp(score[j] - total) * image[j * 3 * width + 2 * width + h * d + c];
                    out->data[(b * rows + i) * width + h * d + c] = sum;
                }
            }
    free(score);
}

/* ---- Losses ---- */

void ref_cross_entropy(const ref *logits, const ref *target, double smoothing, ref *out) {
    const int64_t cols = last_of(&logits->shape), rows = ref_count(logits) / cols;
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        const double t = (1 - smoothing) * target->data[i] + smoothing / (double)cols;
        sum -= t * (logits->data[i] - log_sum_exp(logits->data + i / cols * cols, 1, cols));
    }
    ref_set_shape(out, VST_SCALAR);
    out->data[0] = sum / (double)rows;
}

void ref_binary_cross_entropy(const ref *logits, const ref *target, ref *out) {
    const int64_t cols = last_of(&logits->shape), rows = ref_count(logits) / cols;
    double sum = 0, answered = 0;
    for (int64_t row = 0; row < rows; row++) {
        bool answer = false;
        for (int64_t i = row * cols; i < (row + 1) * cols; i++) answer = answer || target->data[i] > 0;
        if (!answer) continue;
        answered++;
        for (int64_t i = row * cols; i < (row + 1) * cols; i++)
            sum += log1p(exp(target->data[i] > 0 ? -logits->data[i] : logits->data[i]));
    }
    ref_set_shape(out, VST_SCALAR);
    out->data[0] = sum / (answered * (double)cols);
}

void ref_kl(const ref *student, const ref *teacher, double temperature, bool elements, ref *out) {
    const int64_t cols = last_of(&student->shape), rows = ref_count(student) / cols;
    double sum = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        const int64_t row = i / cols * cols;
        const double log_s = student->data[i] / temperature - log_sum_exp(student->data + row, 1 / temperature, cols);
        const double log_t = teacher->data[i] / temperature - log_sum_exp(teacher->data + row, 1 / temperature, cols);
        sum += exp(log_t) * (log_t - log_s);
    }
    ref_set_shape(out, VST_SCALAR);
    out->data[0] = temperature * temperature * sum / (double)(elements ? rows * cols : rows);
}

void ref_mse(const ref *a, const ref *b, ref *out) {
    double sum = 0;
    for (int64_t i = 0; i < ref_count(a); i++) sum += (a->data[i] - b->data[i]) * (a->data[i] - b->data[i]);
    ref_set_shape(out, VST_SCALAR);
    out->data[0] = sum / (double)ref_count(a);
}

void ref_smooth_l1(const ref *a, const ref *b, ref *out) {
    double sum = 0;
    for (int64_t i = 0; i < ref_count(a); i++) {
        const double d = fabs(a->data[i] - b->data[i]);
        sum += d < 1 ? d * d / 2 : d - 0.5;
    }
    ref_set_shape(out, VST_SCALAR);
    out->data[0] = sum / (double)ref_count(a);
}

void ref_one_hot_argmax(const ref *logits, ref *out) {
    const int64_t cols = last_of(&logits->shape);
    ref_set_shape(out, logits->shape);
    for (int64_t r = 0; r < ref_count(logits) / cols; r++) {
        int64_t best = 0;
        for (int64_t c = 0; c < cols; c++) {
            out->data[r * cols + c] = 0;
            if (logits->data[r * cols + c] > logits->data[r * cols + best]) best = c;
        }
        out->data[r * cols + best] = 1;
    }
}
