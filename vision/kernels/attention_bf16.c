/* Multi-head attention on bfloat16. With AVX512_BF16 its products multiply pairs of bf16 and sum in float32; the steps
 * are those of attention.c, and softmax is float32. Elsewhere a head is widened, and the float32 kernel computes it. */
#include <omp.h>
#include <string.h>

#include "vision/kernels/bf16.h"

/* ---- through the float32 kernel ---- */

/* A head's part of the shape. */
static vsti_attention_shape one_head(const vsti_attention_shape *shape) {
    return (vsti_attention_shape){1, shape->tokens, 1, shape->channels, shape->queries};
}

/* Floats of a thread: qkv and dqkv, out and dout of a head, and the float32 kernel's scratch. */
static int64_t thread_floats(const vsti_attention_shape *shape) {
    const vsti_attention_shape head = one_head(shape);
    const int64_t floats = (6 * shape->tokens + 2 * shape->queries) * shape->channels;
    return (floats + 15) / 16 * 16 + (int64_t)K(attention_scratch)(&head, 1);
}

/* wide (rows, width) from every `stride`-th row. */
static void widen_rows(const uint16_t *x, int64_t stride, float *wide, int64_t rows, int64_t width) {
    for (int64_t i = 0; i < rows; i++) vsti_widen_row(x + i * stride, wide + i * width, width);
}

static void narrow_rows(const float *wide, uint16_t *y, int64_t stride, int64_t rows, int64_t width) {
    for (int64_t i = 0; i < rows; i++) vsti_narrow_row(wide + i * width, y + i * stride, width);
}

/* Where a head's rows are: qkv (tokens, 3, heads, d) is seen as 3 tokens rows of heads d. */
typedef struct places {
    int64_t in, out, row, rows; /* row: heads d; rows: 3 tokens */
} places;

static places place(const vsti_attention_shape *s, int64_t unit) {
    const int64_t image = unit / s->heads, offset = unit % s->heads * s->channels, row = s->heads * s->channels;
    return (places){image * s->tokens * 3 * row + offset, image * s->queries * row + offset, row, 3 * s->tokens};
}

/* For the rest of a region's thread: the float32 kernel has scratch for one thread, and where OpenMP nests regions
 * (OMP_MAX_ACTIVE_LEVELS) it would start a team of its own. */
static void compute_alone(void) { omp_set_num_threads(1); }

static void forward_widened(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, uint16_t *out,
                            float *lse, float *scratch) {
    const vsti_attention_shape head = one_head(shape);
    const int64_t d = shape->channels, queries = shape->queries, room = thread_floats(shape);
#pragma omp parallel for schedule(static) if (vsti_attention_worth_threads(shape))
    for (int64_t unit = 0; unit < shape->batch * shape->heads; unit++) {
        const places p = place(shape, unit);
        float *wide = scratch + omp_get_thread_num() * room, *result = wide + p.rows * d, *rest = result + queries * d;
        compute_alone();
        widen_rows(qkv + p.in, p.row, wide, p.rows, d);
        K(attention)(&head, scale, wide, result, lse + unit * queries, rest);
        narrow_rows(result, out + p.out, p.row, queries, d);
    }
}

static void backward_widened(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, const uint16_t *out,
                             const float *lse, const uint16_t *dout, uint16_t *dqkv, float *scratch) {
    const vsti_attention_shape head = one_head(shape);
    const int64_t d = shape->channels, queries = shape->queries, room = thread_floats(shape);
#pragma omp parallel for schedule(static) if (vsti_attention_worth_threads(shape))
    for (int64_t unit = 0; unit < shape->batch * shape->heads; unit++) {
        const places p = place(shape, unit);
        float *wide = scratch + omp_get_thread_num() * room, *result = wide + p.rows * d,
              *gradient = result + queries * d, *wide_dqkv = gradient + queries * d, *rest = wide_dqkv + p.rows * d;
        compute_alone();
        widen_rows(qkv + p.in, p.row, wide, p.rows, d);
        widen_rows(out + p.out, p.row, result, queries, d);
        widen_rows(dout + p.out, p.row, gradient, queries, d);
        K(attention_backward)(&head, scale, wide, result, lse + unit * queries, gradient, wide_dqkv, rest);
        narrow_rows(wide_dqkv, dqkv + p.in, p.row, p.rows, d);
    }
}

/* ---- with AVX512_BF16 ---- */

#if defined VSTI_ISA_avx512
#define NATIVE __attribute__((target("avx512bf16")))
#define INLINE NATIVE static inline __attribute__((always_inline))

/* Two neighbours of bf16. Every product sums over pairs: of channels, of keys or of queries. */
typedef uint32_t word __attribute__((may_alias));

enum { TILE_ROWS = 12, WIDE_ROWS = 8, BLOCK = VSTI_ATTENTION_ROWS };

typedef struct product { /* c (rows, vectors) = or += a b, as vsti_product in gemm.h */
    int64_t inner;       /* pairs */
    const word *a;
    int64_t a_row, a_column;
    const word *b;
    int64_t b_row;
    float *c;
    int64_t c_row;
    bool accumulate;
} product;

INLINE void tile(int rows, int vectors, const product *p, int64_t row, int64_t column) {
    __m512 sum[TILE_ROWS][3];
    const word *a = p->a + row * p->a_row, *b = p->b + column;
    float *c = p->c + row * p->c_row + column;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            sum[i][j] = p->accumulate ? _mm512_loadu_ps(c + i * p->c_row + 16 * j) : _mm512_setzero_ps();
    for (int64_t k = 0; k < p->inner; k++, a += p->a_column, b += p->b_row) {
        __m512i right[3];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) right[j] = _mm512_loadu_si512(b + 16 * j);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                sum[i][j] =
                    _mm512_dpbf16_ps(sum[i][j], (__m512bh)_mm512_set1_epi32((int)a[i * p->a_row]), (__m512bh)right[j]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) _mm512_storeu_ps(c + i * p->c_row + 16 * j, sum[i][j]);
}

INLINE void tile_of(int rows, int vectors, const product *p, int64_t row, int64_t column) {
#define TILE(n) \
    case n: tile(n, vectors, p, row, column); break
    switch (rows) {
        TILE(1);
        TILE(2);
        TILE(3);
        TILE(4);
        TILE(5);
        TILE(6);
        TILE(7);
        TILE(8);
        TILE(9);
        TILE(10);
        TILE(11);
        TILE(12);
    }
#undef TILE
}

/* All rows of some vectors, in tiles of nearly equal height. */
INLINE void columns(int vectors, int highest, const product *p, int64_t rows, int64_t vector) {
    const int64_t tiles = (rows + highest - 1) / highest;
    for (int64_t t = 0; t < tiles; t++) {
        const int64_t begin = rows * t / tiles, height = rows * (t + 1) / tiles - begin;
        tile_of((int)height, vectors, p, begin, vector * 16);
    }
}

NATIVE static void multiply(const product *p, int64_t rows, int64_t vectors) {
    int64_t vector = 0;
    for (; vectors - vector >= 2 && vectors - vector != 3; vector += 2) columns(2, TILE_ROWS, p, rows, vector);
    if (vectors - vector == 3) columns(3, WIDE_ROWS, p, rows, vector);
    else if (vectors - vector == 1) columns(1, TILE_ROWS, p, rows, vector);
}

/* Sizes of one head; those in words are half of those in elements. */
typedef struct sizes {
    int64_t tokens, queries, block, keys, width; /* keys, width: tokens and channels, padded to vectors */
    int64_t pairs;                               /* of channels */
    int64_t row, out_row;                        /* elements from token to token */
} sizes;

static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

static sizes sizes_of(const vsti_attention_shape *s) {
    const int64_t blocks = (s->queries + BLOCK - 1) / BLOCK;
    return (sizes){.tokens = s->tokens,
                   .queries = s->queries,
                   .block = (s->queries + blocks - 1) / blocks,
                   .keys = padded(s->tokens),
                   .width = padded(s->channels),
                   .pairs = s->channels / 2,
                   .row = 3 * s->heads * s->channels,
                   .out_row = s->heads * s->channels};
}

/* Words of scratch of a thread for the backward pass, which needs more than forward; a multiple of a cache line. */
static int64_t native_words(const sizes *s) {
    const int64_t rows = s->block + 1; /* so that pairs of rows are whole */
    return 2 * s->pairs * s->keys + s->keys * s->width / 2 + rows * s->width + 2 * s->tokens * s->width +
           s->block * s->width + rows * s->keys * 7 / 2 + 12 * 16;
}

static void *take_words(word **scratch, int64_t words) {
    void *piece = *scratch;
    *scratch += padded(words);
    return piece;
}

/* y (pairs, keys) from x (tokens, pairs), padded with zeros. */
static void transpose_words(const sizes *s, const uint16_t *x, word *y) {
    const int64_t tokens = s->tokens / 4 * 4, pairs = s->pairs / 4 * 4;
    for (int64_t i = 0; i < s->keys; i += 4) {
        for (int64_t p = 0; i < tokens && p < pairs; p += 4) {
            __m128 r[4];
            for (int k = 0; k < 4; k++) r[k] = _mm_loadu_ps((const float *)(x + (i + k) * s->row + 2 * p));
            _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]);
            for (int k = 0; k < 4; k++) _mm_storeu_ps((float *)(y + (p + k) * s->keys + i), r[k]);
        }
        for (int64_t p = i < tokens ? pairs : 0; p < s->pairs; p++)
            for (int64_t k = i; k < i + 4; k++)
                y[p * s->keys + k] = k < s->tokens ? ((const word *)(x + k * s->row))[p] : 0;
    }
}

/* y ((rows + 1) / 2, width): pairs of rows of x, padded with zeros. */
static void pair_rows(const sizes *s, const uint16_t *x, int64_t x_row, int64_t rows, word *y) {
    const int64_t channels = 2 * s->pairs;
    for (int64_t i = 0; i < rows; i += 2, y += s->width) {
        const uint16_t *low = x + i * x_row, *high = i + 1 < rows ? low + x_row : NULL;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) y[c] = low[c];
        for (int64_t c = channels; c < s->width; c++) y[c] = 0;
        if (!high) continue;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) y[c] |= (uint32_t)high[c] << 16;
    }
}

/* -infinity in the lanes after the last token, else 0. */
INLINE __m512 padding_of(const sizes *s) {
    const unsigned lanes = (unsigned)(s->tokens - (s->keys - 16));
    return _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), (__mmask16)((1u << lanes) - 1), _mm512_setzero_ps());
}

/* Scores to exp(scale (score - max)), rounded into `p`; the sum of the row, of what was not rounded, and lse. */
NATIVE static float softmax_row(const sizes *s, float scale, float *score, uint16_t *p, float *lse) {
    const int64_t last = s->keys - 16;
    __m512 top = _mm512_add_ps(_mm512_loadu_ps(score + last), padding_of(s));
    _mm512_storeu_ps(score + last, top);
    vsti_vector most = (vsti_vector)top;
    for (int64_t k = 0; k < last; k += 16) most = vsti_max(most, vsti_load(score + k));
    const float highest = vsti_top(most);
    vsti_vector sum = {0};
    for (int64_t k = 0; k < s->keys; k += 16) {
        const vsti_vector e = vsti_exp_vector((vsti_load(score + k) - highest) * scale);
        _mm256_storeu_si256((__m256i *)(p + k), (__m256i)_mm512_cvtneps_pbh((__m512)e));
        sum += e;
    }
    const float total = vsti_total(sum);
    *lse = highest * scale + logf(total);
    return total;
}

NATIVE static void head_forward(const sizes *s, float scale, const uint16_t *q, const uint16_t *k, const uint16_t *v,
                                uint16_t *out, float *lse, word *scratch) {
    word *keys = take_words(&scratch, s->pairs * s->keys), *values = take_words(&scratch, s->keys * s->width / 2);
    float *score = take_words(&scratch, s->block * s->keys), *mixed = take_words(&scratch, s->block * s->width);
    uint16_t *p = take_words(&scratch, s->block * s->keys / 2);
    const int64_t token_pairs = (s->tokens + 1) / 2;
    transpose_words(s, k, keys);
    pair_rows(s, v, s->row, s->tokens, values);
    for (int64_t begin = 0; begin < s->queries; begin += s->block) {
        const int64_t left = s->queries - begin, rows = left < s->block ? left : s->block;
        float total[BLOCK];
        const product scores = {
            s->pairs, (const word *)(q + begin * s->row), s->row / 2, 1, keys, s->keys, score, s->keys, false};
        const product mix = {token_pairs, (const word *)p, s->keys / 2, 1, values, s->width, mixed, s->width, false};
        multiply(&scores, rows, s->keys / 16);
        for (int64_t i = 0; i < rows; i++)
            total[i] = softmax_row(s, scale, score + i * s->keys, p + i * s->keys, lse + begin + i);
        multiply(&mix, rows, s->width / 16);
        for (int64_t i = 0; i < rows; i++) {
            const float factor = 1 / total[i], *from = mixed + i * s->width;
            uint16_t *to = out + (begin + i) * s->out_row;
#pragma omp simd
            for (int64_t c = 0; c < 2 * s->pairs; c++) to[c] = vsti_narrow(from[c] * factor);
        }
    }
}

/* 16 probabilities of a query and the gradients of its scores. */
typedef struct pair_of {
    __m512 p, ds;
} pair_of;

INLINE pair_of row_gradient(float scale, float lse, float dot, const float *score, const float *gradient) {
    const vsti_vector p = vsti_exp_vector(vsti_load(score) * scale - lse);
    return (pair_of){(__m512)p, (__m512)(p * (vsti_load(gradient) - dot) * scale)};
}

/* Rounds two rows and interleaves them. */
INLINE __m512i interleave(__m512 low, __m512 high) {
    const __m512i a = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low)),
                  b = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

/* What a block of queries needs beside each head's: scores and gradients in float32, then rounded, by rows and in pairs
 * of rows. */
typedef struct block {
    float *score, *gradient;
    uint16_t *ds;
    word *p_pairs, *ds_pairs;
} block;

NATIVE static void softmax_backward(const sizes *s, float scale, int64_t rows, const float *lse, const float *dot,
                                    const block *b) {
    const __m512 padding = padding_of(s);
    for (int64_t i = 0; i < rows; i++) {
        float *last = b->score + i * s->keys + s->keys - 16;
        _mm512_storeu_ps(last, _mm512_add_ps(_mm512_loadu_ps(last), padding));
    }
    for (int64_t i = 0; i < rows; i += 2)
        for (int64_t k = 0; k < s->keys; k += 16) {
            const int64_t at = i * s->keys + k, next = at + s->keys, to = i / 2 * s->keys + k;
            const pair_of low = row_gradient(scale, lse[i], dot[i], b->score + at, b->gradient + at);
            pair_of high = {_mm512_setzero_ps(), _mm512_setzero_ps()};
            if (i + 1 < rows) high = row_gradient(scale, lse[i + 1], dot[i + 1], b->score + next, b->gradient + next);
            _mm256_storeu_si256((__m256i *)(b->ds + at), (__m256i)_mm512_cvtneps_pbh(low.ds));
            _mm256_storeu_si256((__m256i *)(b->ds + next), (__m256i)_mm512_cvtneps_pbh(high.ds));
            _mm512_storeu_si512(b->p_pairs + to, interleave(low.p, high.p));
            _mm512_storeu_si512(b->ds_pairs + to, interleave(low.ds, high.ds));
        }
}

static float dot_bf16(const uint16_t *a, const uint16_t *b, int64_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += vsti_widen(a[i]) * vsti_widen(b[i]);
    return sum;
}

typedef struct head { /* pointers to one head in each array */
    const uint16_t *q, *k, *v, *out, *dout;
    const float *lse;
    uint16_t *dq, *dk, *dv;
} head;

NATIVE static void head_backward(const sizes *s, float scale, const head *h, word *scratch) {
    const int64_t d = 2 * s->pairs, rows_room = s->block + 1, half = (s->block + 1) / 2;
    word *keys = take_words(&scratch, s->pairs * s->keys), *values = take_words(&scratch, s->pairs * s->keys);
    word *key_pairs = take_words(&scratch, s->keys * s->width / 2);
    word *q = take_words(&scratch, half * s->width), *dout = take_words(&scratch, half * s->width);
    float *dk = take_words(&scratch, s->tokens * s->width), *dv = take_words(&scratch, s->tokens * s->width);
    float *dq = take_words(&scratch, s->block * s->width);
    const block b = {.score = take_words(&scratch, s->block * s->keys),
                     .gradient = take_words(&scratch, s->block * s->keys),
                     .ds = take_words(&scratch, rows_room * s->keys / 2),
                     .p_pairs = take_words(&scratch, half * s->keys),
                     .ds_pairs = take_words(&scratch, half * s->keys)};
    transpose_words(s, h->k, keys);
    transpose_words(s, h->v, values);
    pair_rows(s, h->k, s->row, s->tokens, key_pairs);
    for (int64_t begin = 0; begin < s->queries; begin += s->block) {
        const int64_t left = s->queries - begin, rows = left < s->block ? left : s->block, row_pairs = (rows + 1) / 2;
        const uint16_t *q_rows = h->q + begin * s->row, *dout_rows = h->dout + begin * s->out_row,
                       *out_rows = h->out + begin * s->out_row;
        const bool more = begin > 0;
        const product products[] = {
            {s->pairs, (const word *)q_rows, s->row / 2, 1, keys, s->keys, b.score, s->keys, false},
            {s->pairs, (const word *)dout_rows, s->out_row / 2, 1, values, s->keys, b.gradient, s->keys, false},
            {(s->tokens + 1) / 2, (const word *)b.ds, s->keys / 2, 1, key_pairs, s->width, dq, s->width, false},
            {row_pairs, b.ds_pairs, 1, s->keys, q, s->width, dk, s->width, more},
            {row_pairs, b.p_pairs, 1, s->keys, dout, s->width, dv, s->width, more}};
        float dot[BLOCK];
        pair_rows(s, q_rows, s->row, rows, q);
        pair_rows(s, dout_rows, s->out_row, rows, dout);
        multiply(&products[0], rows, s->keys / 16);
        multiply(&products[1], rows, s->keys / 16);
        for (int64_t i = 0; i < rows; i++) dot[i] = dot_bf16(dout_rows + i * s->out_row, out_rows + i * s->out_row, d);
        softmax_backward(s, scale, rows, h->lse + begin, dot, &b);
        multiply(&products[2], rows, s->width / 16);
        multiply(&products[3], s->tokens, s->width / 16);
        multiply(&products[4], s->tokens, s->width / 16);
        for (int64_t i = 0; i < rows; i++) vsti_narrow_row(dq + i * s->width, h->dq + (begin + i) * s->row, d);
    }
    for (int64_t i = s->queries; i < s->tokens; i++) memset(h->dq + i * s->row, 0, (size_t)d * sizeof *h->dq);
    for (int64_t i = 0; i < s->tokens; i++) {
        vsti_narrow_row(dk + i * s->width, h->dk + i * s->row, d);
        vsti_narrow_row(dv + i * s->width, h->dv + i * s->row, d);
    }
}

static bool is_native(const vsti_attention_shape *s) {
    return s->channels % 2 == 0 && s->queries && __builtin_cpu_supports("avx512bf16");
}

static int64_t native_floats(const vsti_attention_shape *shape) {
    const sizes s = sizes_of(shape);
    return padded(native_words(&s));
}

static void forward_native(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, uint16_t *out,
                           float *lse, float *scratch) {
    const sizes s = sizes_of(shape);
    const int64_t room = native_floats(shape);
#pragma omp parallel for schedule(static) if (vsti_attention_worth_threads(shape))
    for (int64_t unit = 0; unit < shape->batch * shape->heads; unit++) {
        const places p = place(shape, unit);
        const uint16_t *q = qkv + p.in;
        head_forward(&s, scale, q, q + p.row, q + 2 * p.row, out + p.out, lse + unit * s.queries,
                     (word *)(scratch + omp_get_thread_num() * room));
    }
}

static void backward_native(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, const uint16_t *out,
                            const float *lse, const uint16_t *dout, uint16_t *dqkv, float *scratch) {
    const sizes s = sizes_of(shape);
    const int64_t room = native_floats(shape);
#pragma omp parallel for schedule(static) if (vsti_attention_worth_threads(shape))
    for (int64_t unit = 0; unit < shape->batch * shape->heads; unit++) {
        const places p = place(shape, unit);
        const uint16_t *q = qkv + p.in;
        uint16_t *dq = dqkv + p.in;
        const head one = {q,  q + p.row,  q + 2 * p.row, out + p.out, dout + p.out, lse + unit * s.queries,
                          dq, dq + p.row, dq + 2 * p.row};
        head_backward(&s, scale, &one, (word *)(scratch + omp_get_thread_num() * room));
    }
}
#else
static bool is_native(const vsti_attention_shape *s) {
    (void)s;
    return false;
}
static int64_t native_floats(const vsti_attention_shape *shape) {
    (void)shape;
    return 0;
}
#define forward_native forward_widened
#define backward_native backward_widened
#endif

size_t K(attention_scratch_bf16)(const vsti_attention_shape *shape, int threads) {
    return (size_t)(is_native(shape) ? native_floats(shape) : thread_floats(shape)) * (size_t)threads;
}

void K(attention_bf16)(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, uint16_t *out, float *lse,
                       float *scratch) {
    (is_native(shape) ? forward_native : forward_widened)(shape, scale, qkv, out, lse, scratch);
}

void K(attention_backward_bf16)(const vsti_attention_shape *shape, float scale, const uint16_t *qkv,
                                const uint16_t *out, const float *lse, const uint16_t *dout, uint16_t *dqkv,
                                float *scratch) {
    (is_native(shape) ? backward_native : backward_widened)(shape, scale, qkv, out, lse, dout, dqkv, scratch);
}
