/* Counter-based random numbers (Philox4x32-10 of Random123, Salmon et al., SC'11). A stream is a pure function of
 * (seed, operation, epoch, sample): there is no global state, so results do not depend on the number of threads, and
 * resuming a run needs no generator state. A vst_random is a plain value for use by one thread. */
#ifndef VISTILL_VISION_BASE_RANDOM_H
#define VISTILL_VISION_BASE_RANDOM_H

#include <stdint.h>

#include "vision/base/api.h"

VST_BEGIN_DECLS

typedef struct vst_random {
    uint32_t key[2], counter[4], block[4];
    uint32_t used; /* numbers of `block` already used */
} vst_random;

/* Starts a stream. `operation` identifies the purpose (vst_random_id("crop") or a node's id), `epoch` is an epoch or a
 * step, `sample` an index within it. Different arguments give independent streams. */
vst_random vst_random_stream(uint64_t seed, uint64_t operation, uint32_t epoch, uint64_t sample);

/* A 64-bit hash of a name (xxHash), the same in every version. */
uint64_t vst_random_id(const char *name);

uint32_t vst_random_u32(vst_random *random);
double vst_random_uniform(vst_random *random);                 /* [0, 1), 53 bits */
uint32_t vst_random_below(vst_random *random, uint32_t bound); /* 0 … bound-1, unbiased; bound > 0 */
double vst_random_normal(vst_random *random);                  /* N(0, 1), Box-Muller */
double vst_random_beta(vst_random *random, double alpha);      /* Beta(alpha, alpha); alpha > 0 */

/* Element `index` of the epoch's random permutation of 0 … count-1: a Feistel network with cycle walking, computed
 * without storing the permutation. count > 0, index < count. */
uint64_t vst_random_permute(uint64_t seed, uint32_t epoch, uint64_t count, uint64_t index);

VST_END_DECLS
#endif
