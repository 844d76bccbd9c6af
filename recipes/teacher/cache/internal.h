/* Teacher outputs on disk, so that a training need not run the teacher. Internal to recipes/teacher; others include
 * cache.h.
 *
 * A folder has the manifest cache.json, which says what the cache was made for, and for each teacher a file
 * teacher<N>.bin of records of fixed size, one for each image that training shows. There is no index: the offset of a
 * record follows from its number. Records form blocks, whose XXH3 checksums are in the manifest:
 * - with augment.views = 0 a block is an epoch, and a record is a position in it, step * batch + row;
 * - with augment.views = M a block is a view, which the epochs with equal remainder modulo M show, and a record is a
 *   sample.
 * Without mixing, the image at a position does not depend on the batch size; with mixup or CutMix it does, so the cache
 * is valid for one batch size only.
 *
 * A record has the teacher's taps in order: all values in half or single precision; or, for logits with
 * distill.cache_topk = K below the number of classes, the K largest as class numbers (U16, or U32 from 65537 classes
 * on) and values, then a float with the value of each other class, chosen so that the sum of exponentials equals the
 * teacher's. Numbers are little-endian. */
#ifndef VISTILL_RECIPES_TEACHER_CACHE_INTERNAL_H
#define VISTILL_RECIPES_TEACHER_CACHE_INTERNAL_H

#include "recipes/teacher/cache/cache.h"
#include "vision/base/position.h"
#include "vision/tensor/tensor.h"

#define VSTI_CACHE_RECORDS (UINT64_C(1) << 48) /* at most */
enum { VSTI_CACHE_PIECE = 1 << 20 };
#define VSTI_CACHE_MEND "`vistill cache build RECIPE --force` rebuilds it"

typedef struct vsti_cache_tap {
    char name[VST_TAP_NAME];
    vst_shape shape; /* shape for one image */
    size_t floats;   /* number of values in it */
    size_t kept;     /* number of largest values that are kept; 0: all */
    size_t offset;   /* bytes, in the record */
} vsti_cache_tap;

typedef struct vsti_cache_teacher {
    int number; /* index in distill.teacher, from 1 */
    uint64_t hash;
    double top1; /* as vsti_teacher's */
    vsti_cache_tap taps[VST_MAX_TEACHER_TAPS];
    int tap_count;
    size_t record;  /* bytes */
    uint64_t *sums; /* XXH3 of each started block, of the last one as far as it goes; owned */
    size_t sum_capacity;
    int file;        /* descriptor, -1: closed */
    uint8_t *buffer; /* of one record, when open for reading; owned */
} vsti_cache_teacher;

typedef struct vsti_cache {
    char *folder;
    char version[32];    /* of the program that built it */
    uint64_t data, view; /* vst_dataset_hash of the training samples, vst_view_id */
    int seed, batch;     /* batch 0: any batch size */
    int views;
    vst_dtype dtype; /* VST_F16 or VST_F32 */
    int topk;
    uint64_t block; /* records per block */
    uint64_t done;  /* number of records */
    vsti_cache_teacher teachers[VST_MAX_TEACHERS];
    int teacher_count;
    bool *sound;    /* blocks whose sums were found right; owned */
    uint8_t *piece; /* VSTI_CACHE_PIECE bytes of a block that is compared with its sum; owned */
} vsti_cache;

/* ---- Comparing (match.c) ---- */

/* Fails if the cache was made for something else and says what differs. `whole`: the taps must be equal; otherwise
 * there may be more. */
VST_NODISCARD vst_status vsti_cache_compare(const vsti_cache *found, const vsti_cache *wanted, bool whole);
vsti_cache_teacher *vsti_cache_teacher_of(vsti_cache *cache, int number); /* NULL if there is no such teacher */
const vsti_cache_tap *vsti_cache_tap_named(const vsti_cache_teacher *teacher, const char *name);

/* ---- The manifest (manifest.c) ---- */

/* Reads the manifest of a folder. If there is none, returns VST_ERROR_NOT_FOUND with the command that builds it. */
VST_NODISCARD vst_status vsti_cache_read_manifest(vsti_cache *cache, const char *folder);
VST_NODISCARD vst_status vsti_cache_write_manifest(const vsti_cache *cache);

/* ---- Records (record.c) ---- */

const char *vsti_cache_precision(vst_dtype dtype); /* as in a recipe: "half" for F16, "float" for F32 */

/* Sets the offsets of the taps and teacher->record; false if the sizes overflow. */
bool vsti_cache_lay_out(vsti_cache_teacher *teacher, vst_dtype dtype);
bool vsti_cache_lay_out_all(vsti_cache *cache);     /* sets sizes from shapes and topk; false on overflow */
size_t vsti_cache_scratch(const vsti_cache *cache); /* elements of scratch for vsti_cache_encode; at least 1 */
/* A value that is not finite or too large for half precision is an error that names the tap. */
VST_NODISCARD vst_status vsti_cache_encode(const vsti_cache_tap *tap, vst_dtype dtype, const float *values,
                                           uint32_t *scratch, uint8_t *record);
/* Returns false if the record names a class that does not exist. */
bool vsti_cache_decode(const vsti_cache_tap *tap, vst_dtype dtype, const uint8_t *record, float *values);
/* Finds the positions of the `count` largest values, in descending order, the first of equal ones first. *rest is the
 * value of all others if they were equal. */
void vsti_cache_largest(const float *values, size_t floats, size_t count, uint32_t *places, float *rest);

/* Size of `records` records; false if it is too large for a file. */
bool vsti_cache_bytes(const vsti_cache_teacher *teacher, uint64_t records, uint64_t *bytes);
bool vsti_cache_total(const vsti_cache *cache, uint64_t records, uint64_t *bytes); /* of all files */
vst_cache_size vsti_cache_size_of(const vsti_cache *cache);
/* "view", "epochs": what so many blocks are called. */
const char *vsti_cache_block_word(const vsti_cache *cache, uint64_t count);
uint64_t vsti_cache_blocks(const vsti_cache *cache);                 /* number of started blocks */
uint64_t vsti_cache_filled(const vsti_cache *cache, uint64_t block); /* number of existing records in the block */
uint64_t vsti_cache_block(const vsti_cache *cache, uint32_t epoch);  /* the block that an epoch reads */
/* The record of the image at position.sample of the epoch; `sample` is its index in the data set. */
uint64_t vsti_cache_index(const vsti_cache *cache, vsti_position position, uint64_t sample);

/* ---- Files (file.c) ---- */

/* Opens the data files for writing with an exclusive lock. */
VST_NODISCARD vst_status vsti_cache_open_write(vsti_cache *cache);
/* Writes records of a teacher from record `index` on. */
VST_NODISCARD vst_status vsti_cache_put(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t index,
                                        const uint8_t *records, size_t count);
/* Records are synced before the manifest that counts them (manifest.c). */
VST_NODISCARD vst_status vsti_cache_commit(const vsti_cache *cache);
/* Opens the data files to be read, which must be as long as the manifest says, and keeps writers out. They are read
 * with pread: a file that becomes shorter meanwhile, or a disk that fails, is then an error; a mapping would end the
 * process with SIGBUS. */
VST_NODISCARD vst_status vsti_cache_open_read(vsti_cache *cache);
/* Verifies the checksums of a block for all teachers, once. */
VST_NODISCARD vst_status vsti_cache_verify(vsti_cache *cache, uint64_t block);
/* Reads a record into teacher->buffer. */
VST_NODISCARD vst_status vsti_cache_read(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t record);
void vsti_cache_clear(vsti_cache *cache); /* closes its files, too */

#endif
