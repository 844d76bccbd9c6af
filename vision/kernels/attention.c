/* Multi-head attention, forward and backward, one image and head at a time, so that the scores stay in the cache. The
 * backward pass recomputes them from the stored log-sum-exp of each row (Dao et al., 2022, section 3.1). */
#include <omp.h>
#include <string.h>

#include "vision/kernels/gemm.h"
#include "vision/kernels/quantize.h"

enum { BLOCK_ROWS = VSTI_ATTENTION_ROWS };

/* Sizes of one head. Scratch rows are padded to whole vectors. */
typedef struct sizes {
    int64_t tokens, channels, queries;
    int64_t keys, width;  /* tokens and channels, padded */
    int64_t block;        /* queries per block of scores */
    int64_t row, out_row; /* strides between tokens in qkv and in out */
} sizes;

static int64_t padded(int64_t n) { return (n + VSTI_LANES - 1) / VSTI_LANES * VSTI_LANES; }

static sizes sizes_of(const vsti_attention_shape *shape) {
    const int64_t blocks = (shape->queries + BLOCK_ROWS - 1) / BLOCK_ROWS;
    return (sizes){.tokens = shape->tokens,
                   .channels = shape->channels,
                   .queries = shape->queries,
                   .keys = padded(shape->tokens),
                   .width = padded(shape->channels),
                   .block = blocks ? (shape->queries + blocks - 1) / blocks : 0,
                   .row = 3 * shape->heads * shape->channels,
                   .out_row = shape->heads * shape->channels};
}

/* Floats of scratch per thread, for the backward pass, which needs more than forward. A multiple of a cache line, so
 * that threads do not share one. */
static int64_t thread_floats(const sizes *s) {
    const int64_t floats = 2 * s->channels * s->keys + 5 * s->tokens * s->width + s->block * (2 * s->keys + s->width);
    return (floats + 15) / 16 * 16;
}

size_t K(attention_scratch)(const vsti_attention_shape *shape, int threads) {
    const sizes s = sizes_of(shape);
    return (size_t)thread_floats(&s) * (size_t)threads;
}

/* Takes a piece of a thread's scratch. */
static float *take_scratch(float **scratch, int64_t floats) {
    float *piece = *scratch;
    *scratch += floats;
    return piece;
}

/* y (rows, width) = x (rows, channels), padded with zeros. */
static void copy_rows(const sizes *s, int64_t rows, const float *x, int64_t x_row, float *y) {
    for (int64_t i = 0; i < rows; i++) {
        memcpy(y + i * s->width, x + i * x_row, (size_t)s->channels * sizeof *y);
        for (int64_t c = s->channels; c < s->width; c++) y[i * s->width + c] = 0;
    }
}

static void copy_back(const sizes *s, const float *x, int64_t rows, float *y) {
    for (int64_t i = 0; i < rows; i++) memcpy(y + i * s->row, x + i * s->width, (size_t)s->channels * sizeof *y);
}

/* Rows of a head lie apart in memory, so that the processor does not foresee them: they are brought into the L2 cache
 * while the products before compute. The macro keeps the kind of access a constant. */
#define PREFETCH(x, x_row, begin, end, channels, write) \
    for (int64_t row_ = begin; row_ < end; row_++)      \
        for (int64_t c_ = 0; c_ < channels; c_ += 16) __builtin_prefetch(x + row_ * x_row + c_, write, 2)
static void prefetch_reads(const float *x, int64_t x_row, int64_t begin, int64_t end, int64_t channels) {
    PREFETCH(x, x_row, begin, end, channels, 0);
}
static void prefetch_writes(const float *x, int64_t x_row, int64_t begin, int64_t end, int64_t channels) {
    PREFETCH(x, x_row, begin, end, channels, 1);
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)    /* interleaves the first halves of a and b */
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)   /* interleaves the second halves */
#define FIRST(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)  /* concatenates the first halves */
#define SECOND(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7) /* concatenates the second halves */

/* y (4, 4) = x (4, 4) transposed. */
static void transpose_four(const float *x, int64_t x_row, float *y, int64_t y_row) {
    const four a = *(const four *)x, b = *(const four *)(x + x_row), c = *(const four *)(x + 2 * x_row),
               d = *(const four *)(x + 3 * x_row);
    const four ab = LOW(a, b), cd = LOW(c, d), ab2 = HIGH(a, b), cd2 = HIGH(c, d);
    *(four *)y = FIRST(ab, cd);
    *(four *)(y + y_row) = SECOND(ab, cd);
    *(four *)(y + 2 * y_row) = FIRST(ab2, cd2);
    *(four *)(y + 3 * y_row) = SECOND(ab2, cd2);
}

/* y (channels, keys) = x (tokens, channels) transposed, padded with zeros. */
static void transpose(const sizes *s, const float *x, float *y) {
    const int64_t tokens = s->tokens / 4 * 4, channels = s->channels / 4 * 4;
    for (int64_t i = 0; i < tokens; i += 4) {
        for (int64_t c = 0; c < channels; c += 4)
            transpose_four(x + i * s->row + c, s->row, y + c * s->keys + i, s->keys);
        for (int64_t c = channels; c < s->channels; c++)
            for (int64_t k = i; k < i + 4; k++) y[c * s->keys + k] = x[k * s->row + c];
    }
    for (int64_t c = 0; c < s->channels; c++) {
        for (int64_t k = tokens; k < s->tokens; k++) y[c * s->keys + k] = x[k * s->row + c];
        for (int64_t k = s->tokens; k < s->keys; k++) y[c * s->keys + k] = 0;
    }
}

/* The largest score of a row. `padding` is added to the last vector: -infinity in the lanes after the last token. */
static float row_max(const sizes *s, vsti_vector padding, float *score) {
    const int64_t last = s->keys - VSTI_LANES;
    vsti_vector top = vsti_load(score + last) + padding;
    *(vsti_vector *)(score + last) = top;
    for (int64_t k = 0; k < last; k += VSTI_LANES) top = vsti_max(top, vsti_load(score + k));
    return vsti_top(top);
}

static float row_exp(const sizes *s, float scale, float top, float *score) {
    vsti_vector sum = {0};
    for (int64_t k = 0; k < s->keys; k += VSTI_LANES) {
        const vsti_vector p = vsti_exp_vector((vsti_load(score + k) - top) * scale);
        *(vsti_vector *)(score + k) = p;
        sum += p;
    }
    return vsti_total(sum);
}

/* Replaces scores by unnormalised probabilities exp(scale (score - max)), 0 in the padding. Writes the sum of each row
 * and lse (kernels.h). Each step runs over all rows, because the steps of one row depend on each other. */
static void softmax_rows(const sizes *s, float scale, int64_t rows, float *score, float *sum, float *lse) {
    vsti_vector padding = {0};
    for (int64_t k = s->tokens; k < s->keys; k++) padding[k - (s->keys - VSTI_LANES)] = -INFINITY;
    for (int64_t i = 0; i < rows; i++) lse[i] = row_max(s, padding, score + i * s->keys);
    for (int64_t i = 0; i < rows; i++) sum[i] = row_exp(s, scale, lse[i], score + i * s->keys);
    for (int64_t i = 0; i < rows; i++) lse[i] = lse[i] * scale + logf(sum[i]);
}

/* Where the results of a head go: floats, or uint8 if `to` is not NULL. */
typedef struct head_output {
    float *floats;
    const vsti_uint8 *to;
    uint8_t *integers;
} head_output;

/* Divides a row of `sum` by its total and writes it `at` elements after the start of the output. */
static void write_row(const sizes *s, float *sum, float total, const head_output *out, int64_t at) {
    const float factor = 1 / total;
    float *to = out->to ? sum : out->floats + at;
#pragma omp simd
    for (int64_t c = 0; c < s->channels; c++) to[c] = sum[c] * factor;
    if (out->to) vsti_quantize_uint8(sum, out->to, out->integers + at, s->channels);
}

/* Keys and values of a head as the products read them, and room for a block of scores. */
typedef struct packed_head {
    float *keys, *values, *score, *sum;
} packed_head;

static packed_head room_for_head(const sizes *s, float *scratch) {
    packed_head p = {.keys = take_scratch(&scratch, s->channels * s->keys)};
    p.values = take_scratch(&scratch, s->tokens * s->width);
    p.score = take_scratch(&scratch, s->block * s->keys);
    p.sum = take_scratch(&scratch, s->block * s->width);
    return p;
}

/* The queries of a head from `begin`. q, k, v, out and lse (NULL: not wanted) are the head's. next: the distance to the
 * next head's q, k and v. */
static void block_forward(const sizes *s, float scale, const float *q, const float *k, const float *v,
                          const packed_head *p, const head_output *out, float *lse, int64_t next, int64_t begin) {
    const int64_t left = s->queries - begin, rows = left < s->block ? left : s->block;
    const vsti_product scores = {s->channels, q + begin * s->row, s->row,  1,    p->keys,
                                 s->keys,     p->score,           s->keys, false};
    const vsti_product mix = {s->tokens, p->score, s->keys, 1, p->values, s->width, p->sum, s->width, false};
    vsti_gemm(&scores, rows, s->keys / VSTI_LANES);
    prefetch_reads(k + next, s->row, begin, begin + rows, s->channels);
    prefetch_reads(v + next, s->row, begin, begin + rows, s->channels);
    prefetch_reads(q + next, s->row, begin, begin + rows, s->channels);
    float total[BLOCK_ROWS], unwanted[BLOCK_ROWS];
    softmax_rows(s, scale, rows, p->score, total, lse ? lse + begin : unwanted);
    vsti_gemm(&mix, rows, s->width / VSTI_LANES);
    for (int64_t i = 0; i < rows; i++) write_row(s, p->sum + i * s->width, total[i], out, (begin + i) * s->out_row);
}

/* For one query, replaces scores by probabilities, and d loss / d probability by d loss / d (q k). Padding is undefined
 * afterwards. */
static void softmax_row_backward(const sizes *s, float scale, float lse, float dot, float *score, float *gradient) {
    for (int64_t k = 0; k < s->keys; k += VSTI_LANES) {
        const vsti_vector p = vsti_exp_vector(vsti_load(score + k) * scale - lse);
        *(vsti_vector *)(score + k) = p;
        *(vsti_vector *)(gradient + k) = p * (vsti_load(gradient + k) - dot) * scale;
    }
}

/* Pointers to one head in each array. */
typedef struct head {
    const float *q, *k, *v, *out, *lse, *dout;
    float *dq, *dk, *dv;
    int64_t next, next_out; /* the distances to the next head in qkv and in out */
} head;

static void prefetch_inputs(const sizes *s, const head *h, int64_t begin, int64_t end) {
    prefetch_reads(h->k + h->next, s->row, begin, end, s->channels);
    prefetch_reads(h->v + h->next, s->row, begin, end, s->channels);
    prefetch_reads(h->q + h->next, s->row, begin, end, s->channels);
    prefetch_reads(h->out + h->next_out, s->out_row, begin, end, s->channels);
    prefetch_reads(h->dout + h->next_out, s->out_row, begin, end, s->channels);
}

static void prefetch_outputs(const sizes *s, const head *h, int64_t begin, int64_t end) {
    prefetch_writes(h->dq, s->row, begin, end, s->channels);
    prefetch_writes(h->dk, s->row, begin, end, s->channels);
    prefetch_writes(h->dv, s->row, begin, end, s->channels);
}

static void head_backward(const sizes *s, float scale, const head *h, float *scratch) {
    const int64_t key_floats = s->channels * s->keys, token_floats = s->tokens * s->width;
    const int64_t key_vectors = s->keys / VSTI_LANES, width_vectors = s->width / VSTI_LANES;
    float *keys = take_scratch(&scratch, key_floats), *values = take_scratch(&scratch, key_floats);
    float *q = take_scratch(&scratch, token_floats), *k = take_scratch(&scratch, token_floats),
          *dout = take_scratch(&scratch, token_floats);
    float *dk = take_scratch(&scratch, token_floats), *dv = take_scratch(&scratch, token_floats);
    float *dq = take_scratch(&scratch, s->block * s->width);
    float *score = take_scratch(&scratch, s->block * s->keys), *gradient = take_scratch(&scratch, s->block * s->keys);
    transpose(s, h->k, keys);
    transpose(s, h->v, values);
    copy_rows(s, s->queries, h->q, s->row, q);
    copy_rows(s, s->tokens, h->k, s->row, k);
    copy_rows(s, s->queries, h->dout, s->out_row, dout);
    for (int64_t begin = 0; begin < s->queries; begin += s->block) {
        const int64_t left = s->queries - begin, rows = left < s->block ? left : s->block;
        const float *q_rows = q + begin * s->width, *dout_rows = dout + begin * s->width;
        const bool more = begin > 0;
        const vsti_product products[] = {
            {s->channels, q_rows, s->width, 1, keys, s->keys, score, s->keys, false},
            {s->channels, dout_rows, s->width, 1, values, s->keys, gradient, s->keys, false},
            {s->tokens, gradient, s->keys, 1, k, s->width, dq, s->width, false},
            {rows, gradient, 1, s->keys, q_rows, s->width, dk, s->width, more},
            {rows, score, 1, s->keys, dout_rows, s->width, dv, s->width, more}};
        vsti_gemm(&products[0], rows, key_vectors);
        prefetch_inputs(s, h, begin, begin + rows);
        vsti_gemm(&products[1], rows, key_vectors);
        prefetch_outputs(s, h, begin, begin + rows);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t token = begin + i;
            const float dot = vsti_row_dot(dout_rows + i * s->width, h->out + token * s->out_row, s->channels);
            softmax_row_backward(s, scale, h->lse[token], dot, score + i * s->keys, gradient + i * s->keys);
        }
        vsti_gemm(&products[2], rows, width_vectors);
        vsti_gemm(&products[3], s->tokens, width_vectors);
        vsti_gemm(&products[4], s->tokens, width_vectors);
        copy_back(s, dq, rows, h->dq + begin * s->row);
    }
    for (int64_t i = s->queries; i < s->tokens; i++) memset(h->dq + i * s->row, 0, (size_t)s->channels * sizeof *h->dq);
    copy_back(s, dk, s->tokens, h->dk);
    copy_back(s, dv, s->tokens, h->dv);
}

/* The distance from the present head to the next one, where images are `image` floats apart; 0 for the last. */
static int64_t next_of(const vsti_attention_shape *shape, const sizes *s, int64_t unit, int64_t image) {
    const int64_t next = unit + 1;
    if (next == shape->batch * shape->heads) return 0;
    return next % shape->heads ? s->channels : image - (shape->heads - 1) * s->channels;
}

enum { LEAST_ROWS = 16 }; /* of a block that is made smaller for the threads' sake */

/* Blocks of a head's queries: as few as the cache allows, or more where that makes the longest share of a thread
 * shorter, as with the three heads of one image and two threads. The results are the same. */
static int64_t blocks_of(const vsti_attention_shape *shape, const sizes *s) {
    const int64_t heads = shape->batch * shape->heads, threads = omp_get_max_threads();
    int64_t best = s->block ? (s->queries + s->block - 1) / s->block : 0,
            share = (heads * best + threads - 1) / threads;
    for (int64_t blocks = best + 1; blocks <= s->queries / LEAST_ROWS && heads < 4 * threads; blocks++) {
        const int64_t longest = (heads * blocks + threads - 1) / threads;
        if (longest * best >= share * blocks) continue;
        best = blocks;
        share = longest;
    }
    return best;
}

static void forward(const vsti_attention_shape *shape, float scale, const float *qkv, const head_output *out,
                    float *lse, float *scratch) {
    sizes s = sizes_of(shape);
    const int64_t heads = shape->heads, d = s.channels, n = s.tokens, blocks = blocks_of(shape, &s);
    const int64_t room = thread_floats(&s), units = shape->batch * heads * blocks;
    s.block = blocks ? (s.queries + blocks - 1) / blocks : 0;
#pragma omp parallel if (vsti_attention_worth_threads(shape))
    {
        const packed_head p = room_for_head(&s, scratch + omp_get_thread_num() * room);
        int64_t packed = -1;
#pragma omp for schedule(static)
        for (int64_t unit = 0; unit < units; unit++) {
            const int64_t one = unit / blocks, image = one / heads, h = one % heads;
            const int64_t at = image * s.queries * s.out_row + h * d, begin = unit % blocks * s.block;
            const float *q = qkv + image * n * s.row + h * d, *k = q + heads * d, *v = k + heads * d;
            const head_output to = {out->to ? NULL : out->floats + at, out->to, out->to ? out->integers + at : NULL};
            if (begin >= s.queries) continue; /* rounding up the rows can leave the last block empty */
            if (one != packed) {
                transpose(&s, k, p.keys);
                copy_rows(&s, n, v, s.row, p.values);
                packed = one;
            }
            block_forward(&s, scale, q, k, v, &p, &to, lse ? lse + one * s.queries : NULL,
                          next_of(shape, &s, one, n * s.row), begin);
        }
    }
}

void K(attention)(const vsti_attention_shape *shape, float scale, const float *qkv, float *out, float *lse,
                  float *scratch) {
    forward(shape, scale, qkv, &(head_output){.floats = out}, lse, scratch);
}

void K(attention_uint8)(const vsti_attention_shape *shape, float scale, const float *qkv, const vsti_uint8 *to,
                        uint8_t *out, float *scratch) {
    forward(shape, scale, qkv, &(head_output){.to = to, .integers = out}, NULL, scratch);
}

void K(attention_backward)(const vsti_attention_shape *shape, float scale, const float *qkv, const float *out,
                           const float *lse, const float *dout, float *dqkv, float *scratch) {
    const sizes s = sizes_of(shape);
    const int64_t heads = shape->heads, d = s.channels, n = s.tokens;
#pragma omp parallel for schedule(static) if (vsti_attention_worth_threads(shape))
    for (int64_t unit = 0; unit < shape->batch * heads; unit++) {
        const int64_t image = unit / heads, h = unit % heads;
        const int64_t in_offset = image * n * s.row + h * d, out_offset = image * s.queries * s.out_row + h * d;
        const float *q = qkv + in_offset;
        float *dq = dqkv + in_offset;
        const head one = {q,
                          q + heads * d,
                          q + 2 * heads * d,
                          out + out_offset,
                          lse + unit * s.queries,
                          dout + out_offset,
                          dq,
                          dq + heads * d,
                          dq + 2 * heads * d,
                          next_of(shape, &s, unit, n * s.row),
                          next_of(shape, &s, unit, s.queries * s.out_row)};
        head_backward(&s, scale, &one, scratch + omp_get_thread_num() * thread_floats(&s));
    }
}
