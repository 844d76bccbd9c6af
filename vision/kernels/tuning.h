/* Every measured threshold and block size of kernels, operations, oneDNN and fusion, with how it was measured. "One
 * image" and "16 images" are ResNet-50 or DeiT-Ti on two cores with AVX2. A change here may change the last bits of
 * results. */
#ifndef VISTILL_VISION_KERNELS_TUNING_H
#define VISTILL_VISION_KERNELS_TUNING_H

/* ---- threads and vectors ---- */
enum {
    VSTI_PARALLEL = 16384, /* elements: below that, starting the other threads costs more than it saves */
    /* Elements of a flat array that one thread takes at a time; fixed, so that which element falls into a vector loop's
     * tail does not depend on the number of threads. */
    VSTI_BLOCK = 4096,
    /* Parts of a sum over rows, each added up by one thread; fixed, so that the result does not depend on their number.
     */
    VSTI_PARTIAL_BLOCKS = 16,
    VSTI_BF16_NORM_ROWS = 16 /* rows of layer norm that are computed in the cache before they are rounded to bf16 */
};

/* ---- matrix products ---- */
enum {
    /* Maximum number of rows for which an inference program packs a weight once. With more rows the cost of packing in
     * every call is negligible (DeiT-Ti: 8 % faster with 198 rows, nothing gained with 3168), and the copy is not worth
     * its memory. */
    VSTI_MOST_ROWS_PACKED = 1024,
    /* oneDNN's GELU in a matrix product on AVX2 costs twice what our own pass over the result does (DeiT-Ti, 16 images:
     * 25 ms in place of 12). In convolutions it is fused. */
    VSTI_FUSE_GELU_IN_PRODUCT = 0
};

/* ---- attention ---- */
enum { VSTI_ATTENTION_ROWS = 72 }; /* queries per block: two blocks of scores against 200 keys fit in L2 */

/* ---- convolutions ---- */
enum {
    /* On AVX2 oneDNN itself takes channels-last brgemm kernels for all convolutions. With channels in blocks of 8 its
     * older kernels are about 10 % (one image) to 25 % (16 images) faster where the kernel is 1x1 (ResNet-50), and as
     * fast for 3x3 kernels on maps with at least this number of rows; smaller maps and strides are up to 1.5 times
     * slower and stay channels-last. The reorders that this costs between the two are cheap: such maps are small.
     * Depthwise convolutions follow the 1x1 ones around them. */
    VSTI_LARGE_MAP = 28,

    /* The gradient of depthwise weights: pieces of work (16 channels of a part of the images), enough for 64 threads;
     * adding up the parts is at most some ten thousand additions. EfficientNet-Lite0, 32 images, two cores with
     * AVX-512: 49 ms, oneDNN 374, of which 349 for kernels of 5x5, for which it has one matrix product per channel. */
    VSTI_DEPTHWISE_UNITS = 64,
    VSTI_DEPTHWISE_LARGEST_KERNEL = 7, /* larger ones are oneDNN's */

    /* Winograd's method (ResNet-50, one image: 48.6 ms with it, 58.6 ms without). With fewer channels its transforms
     * cost what its products save. */
    VSTI_WINOGRAD_LEAST_CHANNELS = 32,
    /* Its weights are four times as large: with fewer tiles than these (4x4 outputs each) reading them takes longer
     * than the products that it saves. Tiles that extend beyond the edge are wasted work: at most as much as the
     * outputs themselves. */
    VSTI_WINOGRAD_LEAST_TILES = 8,
    VSTI_WINOGRAD_MOST_WASTE = 2, /* outputs of all tiles for each output */
    /* Maximum floats of scratch for a chunk of tiles, which fit in the L3 cache, and minimum tiles of a chunk. */
    VSTI_WINOGRAD_CHUNK_FLOATS = 1 << 20,
    VSTI_WINOGRAD_CHUNK_TILES = 24
};

#endif
