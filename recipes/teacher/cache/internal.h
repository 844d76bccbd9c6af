/* A teacher's answers on disk, so that a training need not run it. Internal to recipes/teacher; others include cache.h.
 *
 * A folder holds cache.json, the manifest, which says what the cache was made for, and for each teacher a file
 * teacher<N>.bin of records of one fixed size, a record for each image that training shows. Records have no index:
 * their place follows from their number. Records are in blocks, of which the manifest has the XXH3:
 * - with augment.views = 0 a block is an epoch, and a record is that of a place in it, step * batch + row;
 * - with augment.views = M a block is a view, the one that epochs of equal remainder by M show, and a record is that of
 *   a sample.
 *
 * Without mixing a place shows the same image whatever the batch; with mixup or CutMix the batch decides the images, so
 * the cache is for one size of it.
 *
 * A record is the teacher's taps one after the other: all floats in half or single precision; or, of logits with
 * distill.cache_topk = K below the number of classes, the K largest as class numbers (U16, U32 from 65537 classes on)
 * and values, then a float, the value of each of the others, such that the sum of exponentials is that of the teacher.
 * Numbers lie in the byte order of the machine, which is little-endian on all that Vistill runs on. */
#ifndef VISTILL_RECIPES_TEACHER_CACHE_INTERNAL_H
#define VISTILL_RECIPES_TEACHER_CACHE_INTERNAL_H

#include "recipes/teacher/cache/cache.h"
#include "vision/base/position.h"
#include "vision/tensor/tensor.h"

#define VSTI_CACHE_RECORDS (UINT64_C(1) << 48) /* at most */
#define VSTI_CACHE_MEND "`vistill cache build RECIPE --force` makes it anew"

typedef struct vsti_cache_tap {
    char name[VST_TAP_NAME];
    vst_shape shape; /* of one image's */
    size_t floats;   /* in it */
    size_t kept;     /* the largest of them; 0: all */
    size_t offset;   /* in the record */
} vsti_cache_tap;

typedef struct vsti_cache_teacher {
    int number; /* in distill.teacher, from 1 */
    uint64_t hash;
    double top1; /* as vsti_teacher's */
    vsti_cache_tap taps[VST_MAX_TERMS];
    int tap_count;
    size_t record;  /* bytes */
    uint64_t *sums; /* XXH3 of each block that was begun, of the last one as far as it goes; owned */
    size_t sum_capacity;
    int file;           /* descriptor, -1: closed */
    const uint8_t *map; /* NULL: not mapped */
    size_t mapped;
} vsti_cache_teacher;

typedef struct vsti_cache {
    char *folder;
    char version[32];    /* of the program that made it */
    uint64_t data, view; /* hashes: vst_dataset_hash of the training samples, vst_view_id */
    int seed, batch;     /* batch 0: any */
    int views;
    vst_dtype dtype; /* VST_F16 or VST_F32 */
    int topk;
    uint64_t block; /* records in a block */
    uint64_t done;  /* records there are */
    vsti_cache_teacher teachers[VST_MAX_TEACHERS];
    int teacher_count;
    bool *sound; /* blocks whose sums were found right; owned */
} vsti_cache;

/* ---- Whether it fits (match.c) ---- */

/* Refuses a cache that was made for something else, saying what differs. `whole`: the taps must be the same; otherwise
 * it may have more. */
VST_NODISCARD vst_status vsti_cache_compare(const vsti_cache *found, const vsti_cache *wanted, bool whole);
vsti_cache_teacher *vsti_cache_teacher_of(vsti_cache *cache, int number); /* NULL: it has none of that number */
const vsti_cache_tap *vsti_cache_tap_named(const vsti_cache_teacher *teacher, const char *name);

/* ---- The manifest (manifest.c) ---- */

/* Reads the folder's manifest; a folder without one is VST_ERROR_NOT_FOUND, and the message names the command that
 * makes it. */
VST_NODISCARD vst_status vsti_cache_read_manifest(vsti_cache *cache, const char *folder);
VST_NODISCARD vst_status vsti_cache_write_manifest(const vsti_cache *cache);

/* ---- Records (record.c) ---- */

const char *vsti_cache_precision(vst_dtype dtype); /* as a recipe says it: "half" for F16, "float" for F32 */

/* Lays the taps out and sets teacher->record; false if the sizes overflow. */
bool vsti_cache_lay_out(vsti_cache_teacher *teacher, vst_dtype dtype);
bool vsti_cache_lay_out_all(vsti_cache *cache);     /* by their shapes and topk */
size_t vsti_cache_scratch(const vsti_cache *cache); /* elements that vsti_cache_encode needs; at least 1 */
/* A number that is not finite, or too large for half precision, is an error that names the tap. */
VST_NODISCARD vst_status vsti_cache_encode(const vsti_cache_tap *tap, vst_dtype dtype, const float *values,
                                           uint32_t *scratch, uint8_t *record);
/* False if the record names a class that there is not. */
bool vsti_cache_decode(const vsti_cache_tap *tap, vst_dtype dtype, const uint8_t *record, float *values);
/* The places of the `count` largest values, in falling order, the first of equal ones first; *rest becomes the value of
 * the others if all were equal. */
void vsti_cache_largest(const float *values, size_t floats, size_t count, uint32_t *places, float *rest);

/* The size of so many records; false if it is too large for a file. */
bool vsti_cache_bytes(const vsti_cache_teacher *teacher, uint64_t records, uint64_t *bytes);
bool vsti_cache_total(const vsti_cache *cache, uint64_t records, uint64_t *bytes); /* of all its files */
vst_cache_size vsti_cache_size_of(const vsti_cache *cache);
uint64_t vsti_cache_blocks(const vsti_cache *cache);                 /* that were begun */
uint64_t vsti_cache_filled(const vsti_cache *cache, uint64_t block); /* records of the block that are there */
uint64_t vsti_cache_block(const vsti_cache *cache, uint32_t epoch);  /* that an epoch reads */
/* The record of the image at position.sample of the epoch, which shows `sample` of the data set. */
uint64_t vsti_cache_index(const vsti_cache *cache, vsti_position position, uint64_t sample);

/* ---- Files (file.c) ---- */

/* Opens the data files to be written, and keeps everyone else out. */
VST_NODISCARD vst_status vsti_cache_open_write(vsti_cache *cache);
/* Writes records of a teacher from `index` on. */
VST_NODISCARD vst_status vsti_cache_put(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t index,
                                        const uint8_t *records, size_t count);
/* First the records reach the disk, then the manifest that counts them. */
VST_NODISCARD vst_status vsti_cache_commit(const vsti_cache *cache);
/* Maps the data files, which must be as long as the manifest says, and keeps writers out. */
VST_NODISCARD vst_status vsti_cache_open_read(vsti_cache *cache);
/* Compares a block of all teachers with its sums, once. */
VST_NODISCARD vst_status vsti_cache_verify(vsti_cache *cache, uint64_t block);
void vsti_cache_clear(vsti_cache *cache); /* closes its files, too */

#endif
