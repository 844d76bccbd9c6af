/* The manifest of a cache, cache.json: writing and reading. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "recipes/teacher/cache/internal.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

enum { FORMAT = 1, MANIFEST_LIMIT = 64 << 20 };
#define FLAGS (JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)) /* equal contents give equal text */

/* ---- Writing ---- */

static json_t *hash_json(uint64_t hash) {
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

static json_t *tap_json(const vsti_cache_tap *tap) {
    json_t *object = json_object(), *shape = json_array();
    bool good = json_object_set_new(object, "name", json_string(tap->name)) == 0;
    for (int i = 0; i < tap->shape.rank; i++)
        good &= json_array_append_new(shape, json_integer(tap->shape.dim[i])) == 0;
    good &= json_object_set_new(object, "shape", shape) == 0;
    if (good) return object;
    json_decref(object);
    return NULL;
}

static json_t *teacher_json(const vsti_cache *cache, const vsti_cache_teacher *teacher) {
    json_t *object = json_object(), *taps = json_array(), *sums = json_array();
    bool good = json_object_set_new(object, "number", json_integer(teacher->number)) == 0;
    good &= json_object_set_new(object, "hash", hash_json(teacher->hash)) == 0;
    good &= json_object_set_new(object, "top1", isnan(teacher->top1) ? json_null() : json_real(teacher->top1)) == 0;
    for (int i = 0; i < teacher->tap_count; i++) good &= json_array_append_new(taps, tap_json(&teacher->taps[i])) == 0;
    for (uint64_t i = 0; i < vsti_cache_blocks(cache); i++)
        good &= json_array_append_new(sums, hash_json(teacher->sums[i])) == 0;
    good &= json_object_set_new(object, "taps", taps) == 0;
    good &= json_object_set_new(object, "sums", sums) == 0;
    if (good) return object;
    json_decref(object);
    return NULL;
}

static json_t *manifest_json(const vsti_cache *cache) {
    json_t *object = json_object(), *teachers = json_array();
    bool good = json_object_set_new(object, "format", json_integer(FORMAT)) == 0;
    good &= json_object_set_new(object, "program", json_string(cache->version)) == 0;
    good &= json_object_set_new(object, "data", hash_json(cache->data)) == 0;
    good &= json_object_set_new(object, "view", hash_json(cache->view)) == 0;
    good &= json_object_set_new(object, "seed", json_integer(cache->seed)) == 0;
    good &= json_object_set_new(object, "batch", json_integer(cache->batch)) == 0;
    good &= json_object_set_new(object, "views", json_integer(cache->views)) == 0;
    good &= json_object_set_new(object, "precision", json_string(vsti_cache_precision(cache->dtype))) == 0;
    good &= json_object_set_new(object, "topk", json_integer(cache->topk)) == 0;
    good &= json_object_set_new(object, "block", json_integer((json_int_t)cache->block)) == 0;
    good &= json_object_set_new(object, "done", json_integer((json_int_t)cache->done)) == 0;
    for (int i = 0; i < cache->teacher_count; i++)
        good &= json_array_append_new(teachers, teacher_json(cache, &cache->teachers[i])) == 0;
    good &= json_object_set_new(object, "teachers", teachers) == 0;
    if (good) return object;
    json_decref(object);
    return NULL;
}

/* Checksum of the manifest without its checksum field; false if out of memory. */
static bool checksum_of(const json_t *manifest, uint64_t *sum) {
    char *text = json_dumps(manifest, FLAGS);
    if (text) *sum = XXH3_64bits(text, strlen(text));
    vst_free(text); /* jansson allocates with memory.h */
    return text != NULL;
}

vst_status vsti_cache_write_manifest(const vsti_cache *cache) {
    vst_status status = VST_OK;
    vsti_file_writer output;
    uint64_t sum;
    char *path = vst_format("%s/cache.json", cache->folder), *text = NULL;
    json_t *manifest = manifest_json(cache);
    const bool good = path && manifest && checksum_of(manifest, &sum) &&
                      json_object_set_new(manifest, "checksum", hash_json(sum)) == 0 &&
                      (text = json_dumps(manifest, FLAGS));
    if (!good) VST_TRY(vst_fail_memory(4096));
    VST_TRY(vsti_file_create(&output, path));
    fprintf(output.stream, "%s\n", text);
    VST_TRY(vsti_file_commit(&output));
out:
    vst_free(text);
    json_decref(manifest);
    vst_free(path);
    return status;
}

vst_status vsti_cache_commit(const vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++)
        if (fdatasync(cache->teachers[i].file) != 0)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be written: %s", cache->folder,
                            cache->teachers[i].number, strerror(errno));
    return vsti_cache_write_manifest(cache);
}

/* ---- Reading ---- */

static bool hash_of(const json_t *value, uint64_t *hash) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) return false;
    *hash = strtoull(text, NULL, 16);
    return true;
}

static bool read_hash(const json_t *object, const char *key, uint64_t *hash) {
    return hash_of(json_object_get(object, key), hash);
}

static bool read_count(const json_t *object, const char *key, uint64_t limit, uint64_t *count) {
    const json_t *value = json_object_get(object, key);
    const json_int_t number = json_integer_value(value);
    *count = (uint64_t)number;
    return json_is_integer(value) && number >= 0 && (uint64_t)number <= limit;
}

static bool read_int(const json_t *object, const char *key, int *value) {
    uint64_t count;
    if (!read_count(object, key, INT32_MAX, &count)) return false;
    *value = (int)count;
    return true;
}

static bool read_tap(const json_t *object, vsti_cache_tap *tap) {
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *shape = json_object_get(object, "shape");
    if (!name || !json_is_array(shape) || json_array_size(shape) >= VST_MAX_RANK) return false;
    if (snprintf(tap->name, sizeof tap->name, "%s", name) >= (int)sizeof tap->name) return false;
    tap->shape.rank = (int)json_array_size(shape);
    for (int i = 0; i < tap->shape.rank; i++) {
        tap->shape.dim[i] = json_integer_value(json_array_get(shape, (size_t)i));
        if (tap->shape.dim[i] < 1) return false;
    }
    return true;
}

/* *memory: an allocation failed. */
static bool read_sums(const vsti_cache *cache, const json_t *list, vsti_cache_teacher *teacher, bool *memory) {
    const size_t count = json_array_size(list);
    if (!json_is_array(list) || count != vsti_cache_blocks(cache)) return false;
    *memory = vst_grow(&teacher->sums, &teacher->sum_capacity, count, sizeof *teacher->sums) != VST_OK;
    for (size_t i = 0; !*memory && i < count; i++)
        if (!hash_of(json_array_get(list, i), &teacher->sums[i])) return false;
    return !*memory;
}

static bool read_teacher(const vsti_cache *cache, const json_t *object, vsti_cache_teacher *teacher, bool *memory) {
    const json_t *taps = json_object_get(object, "taps"), *top1 = json_object_get(object, "top1");
    *teacher = (vsti_cache_teacher){.file = -1, .top1 = json_is_null(top1) ? NAN : json_number_value(top1)};
    if (!read_int(object, "number", &teacher->number) || teacher->number < 1 || teacher->number > VST_MAX_TEACHERS)
        return false;
    if (!read_hash(object, "hash", &teacher->hash) || !(json_is_null(top1) || json_is_number(top1))) return false;
    if (!json_is_array(taps) || json_array_size(taps) > VST_MAX_TEACHER_TAPS) return false;
    for (; teacher->tap_count < (int)json_array_size(taps); teacher->tap_count++)
        if (!read_tap(json_array_get(taps, (size_t)teacher->tap_count), &teacher->taps[teacher->tap_count]))
            return false;
    return read_sums(cache, json_object_get(object, "sums"), teacher, memory);
}

static bool read_precision(const json_t *object, vst_dtype *dtype) {
    const char *text = json_string_value(json_object_get(object, "precision"));
    *dtype = text && strcmp(text, vsti_cache_precision(VST_F32)) == 0 ? VST_F32 : VST_F16;
    return text && strcmp(text, vsti_cache_precision(*dtype)) == 0;
}

/* Reads the fields common to all teachers. Returns NULL, or the key that is missing or invalid. */
static const char *read_shared(const json_t *manifest, vsti_cache *cache) {
    const char *program = json_string_value(json_object_get(manifest, "program"));
    if (!program || snprintf(cache->version, sizeof cache->version, "%s", program) >= (int)sizeof cache->version)
        return "program";
    if (!read_hash(manifest, "data", &cache->data)) return "data";
    if (!read_hash(manifest, "view", &cache->view)) return "view";
    if (!read_int(manifest, "seed", &cache->seed)) return "seed";
    if (!read_int(manifest, "batch", &cache->batch)) return "batch";
    if (!read_int(manifest, "views", &cache->views)) return "views";
    if (!read_precision(manifest, &cache->dtype)) return "precision";
    if (!read_int(manifest, "topk", &cache->topk)) return "topk";
    if (!read_count(manifest, "block", VSTI_CACHE_RECORDS, &cache->block) || !cache->block) return "block";
    if (!read_count(manifest, "done", VSTI_CACHE_RECORDS, &cache->done)) return "done";
    return NULL;
}

static const char *read_all(const json_t *manifest, vsti_cache *cache, bool *memory) {
    const json_t *teachers = json_object_get(manifest, "teachers");
    const char *wrong = read_shared(manifest, cache);
    if (wrong) return wrong;
    if (!json_is_array(teachers) || json_array_size(teachers) > VST_MAX_TEACHERS) return "teachers";
    for (size_t i = 0; i < json_array_size(teachers); i++) {
        vsti_cache_teacher *teacher = &cache->teachers[cache->teacher_count++];
        if (!read_teacher(cache, json_array_get(teachers, i), teacher, memory)) return "teachers";
    }
    return vsti_cache_lay_out_all(cache) ? NULL : "teachers";
}

static vst_status parse(vsti_cache *cache, const char *path, const char *text, size_t length) {
    vst_status status = VST_OK;
    json_error_t error;
    uint64_t format, told, sum = 0;
    bool memory = false;
    json_t *manifest = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!manifest && json_error_code(&error) == json_error_out_of_memory) return vst_fail_memory(length);
    if (!json_is_object(manifest))
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s:%d: the manifest of the cache is broken: %s; " VSTI_CACHE_MEND, path,
                         manifest ? 1 : error.line, manifest ? "no object" : error.text));
    if (!read_count(manifest, "format", INT32_MAX, &format) || format != FORMAT)
        VST_TRY(
            vst_fail(VST_ERROR_UNSUPPORTED, "%s: a cache of another format than %d; " VSTI_CACHE_MEND, path, FORMAT));
    const bool summed = read_hash(manifest, "checksum", &told) && json_object_del(manifest, "checksum") == 0;
    if (summed && !checksum_of(manifest, &sum)) VST_TRY(vst_fail_memory(length));
    if (!summed || sum != told)
        VST_TRY(vst_fail(VST_ERROR_FORMAT,
                         "%s: the checksum does not fit: the manifest of the cache was changed; " VSTI_CACHE_MEND,
                         path));
    const char *wrong = read_all(manifest, cache, &memory);
    if (memory) VST_TRY(vst_fail_memory(length));
    if (wrong) VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: '%s' is missing or wrong; " VSTI_CACHE_MEND, path, wrong));
out:
    json_decref(manifest);
    return status;
}

vst_status vsti_cache_read_manifest(vsti_cache *cache, const char *folder) {
    vst_status status = VST_OK;
    char *path = vst_format("%s/cache.json", folder), *text = NULL;
    size_t length;
    *cache = (vsti_cache){.folder = vst_strdup(folder)};
    if (!path || !cache->folder) VST_TRY(vst_fail_memory(strlen(folder)));
    status = vsti_file_read(path, MANIFEST_LIMIT, "the manifest of a cache", &text, &length);
    if (status == VST_ERROR_NOT_FOUND)
        VST_TRY(vst_fail(status, "%s is not there: `vistill cache build RECIPE` makes the cache", path));
    VST_TRY(status);
    VST_TRY(parse(cache, path, text, length));
out:
    vst_free(text);
    vst_free(path);
    if (status != VST_OK) vsti_cache_clear(cache);
    return status;
}
