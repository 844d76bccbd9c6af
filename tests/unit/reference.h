/* Naive kernels in double, one loop after another as the formulas are written: what every operation and every gradient
 * of the engine is compared with. Layouts are PyTorch's. Each function sets the shape of `out` and fills it, and aborts
 * if `out` has no room for that. */
#ifndef VISTILL_TESTS_UNIT_REFERENCE_H
#define VISTILL_TESTS_UNIT_REFERENCE_H

#include "vision/tensor/tensor.h"

typedef struct ref {
    vst_shape shape;
    int64_t room; /* elements that data has room for */
    double *data;
} ref;

ref ref_make(vst_shape shape); /* zeros */
void ref_free(ref *tensor);
int64_t ref_count(const ref *tensor);
void ref_set_shape(ref *out, vst_shape shape); /* aborts the test if there is no room */

typedef struct ref_window { /* of convolution and pooling */
    int kernel, stride, padding, dilation, groups;
    bool same; /* convolution: TensorFlow's padding */
    bool ceil; /* pooling: partial windows count */
} ref_window;

void ref_conv2d(const ref *x, const ref *weight, const ref *bias, ref_window w, ref *out); /* bias may be NULL */
void ref_linear(const ref *x, const ref *weight, const ref *bias, ref *out);
void ref_matmul(const ref *a, const ref *b, bool transpose_a, bool transpose_b, ref *out);
/* Over the channels; mean and variance (C, biased) are written if not NULL. */
void ref_batch_norm(const ref *x, const ref *weight, const ref *bias, double epsilon, ref *out, double *mean,
                    double *variance);
void ref_layer_norm(const ref *x, const ref *weight, const ref *bias, double epsilon, ref *out);

void ref_map(const ref *x, double (*function)(double), ref *out);
double ref_relu(double x);
double ref_relu6(double x);
double ref_gelu(double x);
double ref_silu(double x);
double ref_sigmoid(double x);
double ref_hardswish(double x);

void ref_add(const ref *a, const ref *b, ref *out); /* broadcasts */
void ref_mul(const ref *a, const ref *b, ref *out); /* broadcasts */
void ref_scale(const ref *x, double factor, ref *out);
void ref_normalize(const ref *x, const double *mean, const double *deviation, ref *out);
void ref_standardize(const ref *x, ref *out);
void ref_unit(const ref *x, ref *out);
void ref_pairwise_distances(const ref *x, ref *out);

void ref_permute(const ref *x, const int *order, ref *out);
void ref_slice(const ref *x, int axis, int64_t start, int64_t count, ref *out);
void ref_concat(const ref *const *values, int count, int axis, ref *out);
void ref_expand(const ref *x, vst_shape shape, ref *out);
void ref_reduce(const ref *x, unsigned axes, bool keep, bool mean, ref *out);
void ref_area(const ref *x, int height, int width, ref *out); /* adaptive average pooling */
void ref_resize(const ref *x, int height, int width, bool cubic, ref *out);

void ref_max_pool(const ref *x, ref_window w, ref *out);
void ref_avg_pool(const ref *x, ref_window w, bool count_padding, ref *out);

void ref_softmax(const ref *x, bool logarithm, ref *out);
void ref_attention(const ref *qkv, int heads, int64_t queries, ref *out); /* queries 0: all tokens */

void ref_binary_cross_entropy(const ref *logits, const ref *target, ref *out);
void ref_cross_entropy(const ref *logits, const ref *target, double smoothing, ref *out);
void ref_kl(const ref *student, const ref *teacher, double temperature, bool elements, ref *out);
void ref_mse(const ref *a, const ref *b, ref *out);
void ref_smooth_l1(const ref *a, const ref *b, ref *out);
void ref_one_hot_argmax(const ref *logits, ref *out);

#endif
