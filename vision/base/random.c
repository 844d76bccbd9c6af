/* Random streams from Random123's Philox4x32-10. Permutations are four-round Feistel networks with Philox as the round
 * function. */
#include "vision/base/random.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

static const double two_pi = 6.283185307179586476925286766559;

uint64_t vst_random_id(const char *name) { return XXH64(name, strlen(name), 0); }

vst_random vst_random_stream(uint64_t seed, uint64_t operation, uint32_t epoch, uint64_t sample) {
    const uint64_t parts[2] = {seed, operation};
    const uint64_t key = XXH64(parts, sizeof parts, 0);
    vst_random random = {.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                         .counter = {0, epoch, (uint32_t)sample, (uint32_t)(sample >> 32)},
                         .used = 4};
    return random;
}

uint32_t vst_random_u32(vst_random *random) {
    if (random->used == 4) {
        philox4x32_ctr_t counter = {{random->counter[0]++, random->counter[1], random->counter[2], random->counter[3]}};
        philox4x32_key_t key = {{random->key[0], random->key[1]}};
        philox4x32_ctr_t block = philox4x32(counter, key);
        memcpy(random->block, block.v, sizeof random->block);
        random->used = 0;
    }
    return random->block[random->used++];
}

double vst_random_uniform(vst_random *random) {
    uint64_t high = vst_random_u32(random) >> 5, low = vst_random_u32(random) >> 6;
    return (double)((high << 26) | low) * 0x1p-53;
}

uint32_t vst_random_below(vst_random *random, uint32_t bound) {
    uint32_t threshold = -bound % bound; /* Lemire, 2019 */
    for (;;) {
        uint64_t product = (uint64_t)vst_random_u32(random) * bound;
        if ((uint32_t)product >= threshold) return (uint32_t)(product >> 32);
    }
}

double vst_random_normal(vst_random *random) {
    double u = 1.0 - vst_random_uniform(random), v = vst_random_uniform(random);
    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}

/* The logarithm of a gamma-distributed number (Marsaglia and Tsang, 2000). For a small alpha the number itself may
 * underflow. */
static double log_gamma(vst_random *random, double alpha) {
    const double boost = alpha < 1 ? log(1.0 - vst_random_uniform(random)) / alpha : 0;
    const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = vst_random_normal(random), root = 1 + c * x, v = root * root * root;
        const double u = 1.0 - vst_random_uniform(random);
        if (root > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + boost;
    }
}

double vst_random_beta(vst_random *random, double alpha) {
    if (alpha < 1e-300) alpha = 1e-300; /* otherwise both logarithms below are infinite */
    const double a = log_gamma(random, alpha), b = log_gamma(random, alpha);
    return 1 / (1 + exp(b - a));
}

/* A four-round Feistel network over 2 * half_bits bits. */
static uint64_t feistel(uint64_t value, int half_bits, philox4x32_key_t key, uint32_t epoch) {
    const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint32_t round = 0; round < 4; round++) {
        philox4x32_ctr_t counter = {{round, epoch, (uint32_t)right, (uint32_t)(right >> 32)}};
        philox4x32_ctr_t hash = philox4x32(counter, key);
        uint64_t mixed = left ^ ((((uint64_t)hash.v[1] << 32) | hash.v[0]) & mask);
        left = right;
        right = mixed;
    }
    return (left << half_bits) | right;
}

uint64_t vst_random_permute(uint64_t seed, uint32_t epoch, uint64_t count, uint64_t index) {
    int half_bits = 1;
    while (half_bits < 32 && (UINT64_C(1) << (2 * half_bits)) < count) half_bits++;
    const uint64_t parts[2] = {seed, vst_random_id("permutation")};
    const uint64_t hash = XXH64(parts, sizeof parts, 0);
    philox4x32_key_t key = {{(uint32_t)hash, (uint32_t)(hash >> 32)}};
    uint64_t value = index;
    do value = feistel(value, half_bits, key, epoch);
    while (value >= count);
    return value;
}
