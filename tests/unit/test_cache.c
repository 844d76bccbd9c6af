/* The cache of teacher outputs: trainings with it equal those with the teachers; caches that do not match, truncated
 * and changed files are refused with advice; an interrupted build continues. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <xxhash.h>

#include "recipes/teacher/cache/internal.h"
#include "recipes/train/teacher_cache.h"
#include "tests/unit/suite.h"
#include "tests/unit/train_session.h"

#define MODEL "model: {name: deit_mini_distilled_patch4_28, drop_path: 0.2, " SMALL "}\n"
#define AUGMENT "augment: {train: \"crop:padding=2, flip:probability=0.5\"}\n"
static const char recipe_text[] =
    "data: {path: data, workers: 1, validation: 40, labelled: 150}\n" RUN ADAMW AUGMENT MODEL
    "distill:\n"
    "  teacher: teacher/last.safetensors\n"
    "  terms:\n"
    "    - {distance: kl, student: logits, temperature: 2, weight: 1}\n"
    "    - {distance: mse, student: blocks.0, teacher: layer3, projector: linear, weight: 1}\n"
    "    - {distance: kl, from: ema, weight: 0.1}\n";
enum { PLACES = TRAIN - 40, RECORD = 2 * (4 + 32 * 3 * 3) }; /* bytes, in half precision */

#define CACHE "distill.cache=cache"
#define FLOAT "distill.cache_precision=float"

/* ---- Building and checking ---- */

/* Settings added to those of every case. */
static session with(session s, const char *setting) {
    int count = 0;
    while (s.settings[count]) count++;
    ck_assert_int_lt(count, SETTINGS);
    s.settings[count] = setting;
    s.recipe = recipe_text;
    return s;
}

static vst_status build(session s, vst_cache_build_options options, vst_cache_size *size) {
    vst_recipe *recipe = read_recipe(&s);
    said[0] = '\0';
    const vst_status status = vst_cache_build(recipe, &options, size);
    vst_recipe_destroy(recipe);
    return status;
}

static vst_cache_size build_fine(session s) {
    vst_cache_size size;
    ck_ok(build(with(s, CACHE), (vst_cache_build_options){0}, &size));
    return size;
}

static vst_status check_status(session s, vst_cache_report *report) {
    s = with(s, CACHE);
    vst_recipe *recipe = read_recipe(&s);
    const vst_status status = vst_cache_check(recipe, 100, NULL, report);
    vst_recipe_destroy(recipe);
    return status;
}

static void expect_status(vst_status status, vst_status wanted, const char *text) {
    ck_assert_msg(status == wanted, "%s instead of %s: %s", vst_status_name(status), vst_status_name(wanted),
                  vst_error_message());
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "\"%s\" is not in: %s", text, vst_error_message());
}

static void enter(void) {
    enter_folder();
    run_fine((session){.recipe = teacher_recipe, .output = "teacher"});
}

/* ---- The same training ---- */

static const session kinds[] = {
    {.settings = {"run.seed=0"}},
    {.settings = {"augment.repeats=2"}},
    {.settings = {"augment.mixup=0.8", "augment.cutmix=1", "augment.mixup_prob=0.7"}},
    {.settings = {"augment.mixup=0.8", "augment.repeats=3"}},
    {.settings = {"augment.views=2"}},
    {.settings = {"augment.mixup=0.8", "optim.batch=12", "optim.accumulate=2"}},
    {.settings = {"distill.teacher=teacher/last.safetensors, teacher/best.safetensors",
                  "distill.terms=[{distance: kl, from: 2}, {distance: mse, student: blocks.1, teacher: layer2, "
                  "projector: linear}]"}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void train(session s, const char *output) {
    s.output = output;
    s.recipe = recipe_text;
    run_fine(s);
}

START_TEST(same_as_online) {
    const session s = with(kinds[_i], FLOAT);
    train(s, "online");
    const vst_cache_size size = build_fine(s);
    ck_assert_uint_eq(size.blocks, kinds[_i].settings[0] == kinds[4].settings[0] ? 2 : EPOCHS);
    train(with(s, CACHE), "cached");
    expect_said("answers  from the cache cache, no teacher runs");
    same_runs("online", "cached", EPOCHS);
    ck_assert_uint_eq(build_fine(s).added, 0);
}
END_TEST

/* The cases above differ from each other, and half precision differs from single precision. */
START_TEST(kinds_differ) {
    const session half = {.settings = {CACHE}};
    for (int i = 0; i < 5; i++) {
        char name[8] = {(char)('a' + i)};
        train(kinds[i], name);
        for (char other[2] = "a"; *other < *name; ++*other) {
            vst_safetensors *x = open_tensors(name, "last.safetensors"), *y = open_tensors(other, "last.safetensors");
            const vst_tensor *s = vst_safetensors_find(x, "optimizer.values"),
                             *t = vst_safetensors_find(y, "optimizer.values");
            ck_assert_int_ne(memcmp(s->data, t->data, (size_t)vst_shape_count(&s->shape) * sizeof(float)), 0);
            vst_safetensors_close(x);
            vst_safetensors_close(y);
        }
    }
    build_fine((session){0});
    session s = half;
    s.recipe = recipe_text;
    ck_ok(run(&s));
    session online = {.recipe = recipe_text, .output = "online"};
    ck_ok(run(&online));
    ck_assert_double_ne(s.result.train_loss, online.result.train_loss);
    ck_assert_double_eq_tol(s.result.train_loss, online.result.train_loss, 0.01 * online.result.train_loss);
}
END_TEST

/* The same cache serves other students, temperatures, weights, fewer taps, other batch sizes and fewer epochs. */
START_TEST(serves_others) {
    static const session others[] = {
        {.settings = {"model.dim=8"}},
        {.settings = {"distill.terms.0.temperature=4"}},
        {.settings = {"distill.terms=[{distance: hard, student: logits_dist}]"}},
        {.settings = {"optim.batch=12"}},
        {.settings = {"run.epochs=2"}},
    };
    build_fine((session){0});
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        session s = with(others[i], CACHE);
        s.force = true;
        train(s, "run");
    }
}
END_TEST

/* With all classes but one the last value is known too; with all classes nothing is truncated. */
START_TEST(largest_logits) {
    const char *const topk = _i ? "distill.cache_topk=4" : "distill.cache_topk=3";
    const session s = {.settings = {topk, FLOAT}};
    vst_cache_report report;
    train((session){.settings = {FLOAT}}, "online");
    build_fine(s);
    train(with(s, CACHE), "cached");
    same_runs("online", "cached", EPOCHS);
    ck_ok(check_status(s, &report));
    ck_assert(report.good && report.taps[0].max_error == 0);
}
END_TEST

/* ---- Interrupted and continued ---- */

START_TEST(training_resumes) {
    static const session stops[] = {{.stop_phase = "train", .stop_epoch = 0, .stop_step = 3},
                                    {.stop_phase = "train", .stop_epoch = 1, .stop_step = 5},
                                    {.stop_phase = "test", .stop_epoch = 1},
                                    {.stop_phase = "train", .stop_epoch = 2, .stop_step = 7}};
    const session s = with(kinds[_i], CACHE);
    build_fine(kinds[_i]);
    train(s, "whole");
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        session part = stops[i];
        part.recipe = recipe_text;
        part.output = "parts";
        part.resume = i > 0;
        memcpy(part.settings, s.settings, sizeof part.settings);
        ck_assert_int_eq(run(&part), VST_ERROR_INTERRUPTED);
    }
    session rest = s;
    rest.resume = true;
    train(rest, "parts");
    same_runs("whole", "parts", EPOCHS);
}
END_TEST

static void same_files(const char *a, const char *b) {
    size_t size[2];
    char *x = read_whole(a, &size[0]), *y = read_whole(b, &size[1]);
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_int_eq(memcmp(x, y, size[0]), 0);
    free(x);
    free(y);
}

/* Resets the cache to `done` records, as after a killed build: the file has more records than the manifest counts. */
static void cut_back(uint64_t done) {
    vsti_cache cache = {0};
    size_t size;
    ck_ok(vsti_cache_read_manifest(&cache, "cache"));
    char *bytes = read_whole("cache/teacher1.bin", &size);
    const size_t begin = done / cache.block * cache.block * RECORD, end = done * RECORD;
    ck_assert_uint_eq(cache.teachers[0].record, RECORD);
    cache.done = done;
    if (end > begin) cache.teachers[0].sums[done / cache.block] = XXH3_64bits(bytes + begin, end - begin);
    memset(bytes + end, 0xee, size - end);
    write_bytes("cache/teacher1.bin", (uint8_t *)bytes, (end + size) / 2);
    ck_ok(vsti_cache_write_manifest(&cache));
    vsti_cache_clear(&cache);
    free(bytes);
}

START_TEST(build_goes_on) {
    static const uint64_t done[] = {0, 24, 72, PLACES - 8, PLACES, PLACES + 24, 2 * PLACES + 7};
    static const volatile sig_atomic_t stop = 1;
    vst_cache_size size;
    expect_status(build(with((session){0}, CACHE), (vst_cache_build_options){.stop = &stop}, &size),
                  VST_ERROR_INTERRUPTED, "");
    ck_assert_uint_eq(build_fine((session){0}).added, EPOCHS * PLACES);
    ck_assert_int_eq(system("cp -r cache whole"), 0);
    for (size_t i = 0; i < sizeof done / sizeof *done; i++) {
        cut_back(done[i]);
        expect_status(build(with((session){0}, CACHE), (vst_cache_build_options){.stop = &stop}, &size),
                      VST_ERROR_INTERRUPTED, "the same command goes on");
        size = build_fine((session){0});
        ck_assert_uint_eq(size.records, EPOCHS * PLACES);
        const uint64_t block = done[i] / PLACES * PLACES, kept = (done[i] - block) % BATCH ? block : done[i];
        ck_assert_uint_eq(size.added, EPOCHS * PLACES - kept);
        same_files("cache/teacher1.bin", "whole/teacher1.bin");
        same_files("cache/cache.json", "whole/cache.json");
    }
    cut_back(72); /* existing records must not have changed */
    size_t bytes;
    char *text = read_whole("cache/teacher1.bin", &bytes);
    text[5] ^= 1;
    write_bytes("cache/teacher1.bin", (uint8_t *)text, bytes);
    free(text);
    expect_status(build(with((session){0}, CACHE), (vst_cache_build_options){0}, &size), VST_ERROR_FORMAT,
                  "was damaged since");
    ck_ok(build(with((session){0}, CACHE), (vst_cache_build_options){.force = true}, &size));
    same_files("cache/cache.json", "whole/cache.json");
}
END_TEST

/* A later build adds epochs. */
START_TEST(build_grows) {
    vst_cache_size size;
    const session s = with((session){0}, CACHE);
    ck_ok(build(s, (vst_cache_build_options){.epochs = 1}, &size));
    expect_said("1 epoch of 200 images");
    ck_assert_uint_eq(size.records, PLACES);
    session training = s;
    training.output = "run";
    expect(training, VST_ERROR_ARGUMENT, "has 1 of the run's 3 epochs: `vistill cache build RECIPE` adds the others");
    ck_ok(build(s, (vst_cache_build_options){0}, &size));
    ck_assert_uint_eq(size.added, 2 * PLACES);
    train(s, "run");
    expect_status(
        build(with((session){.settings = {"augment.views=2"}}, CACHE), (vst_cache_build_options){.epochs = 1}, &size),
        VST_ERROR_ARGUMENT, "--epochs 1");
    expect_status(build(with((session){0}, "distill.cache="), (vst_cache_build_options){0}, &size), VST_ERROR_ARGUMENT,
                  "distill.cache is not set");
}
END_TEST

/* ---- What the cache was not made for ---- */

static const struct {
    const char *setting, *text;
} foreign[] = {
    {"run.seed=1", "was made with run.seed = 0, and this is 1"},
    {"augment.train=crop:padding=1", "with another augmentation (view "},
    {"model.std=0.3", "with another augmentation (view "},
    {"augment.views=3", "with augment.views = 0, and this is 3"},
    {"augment.repeats=2", "with another augmentation (view "},
    {"data.limit=160", "for other training samples (hash "},
    {"data.validation=41", "for other training samples (hash "},
    {FLOAT, "with distill.cache_precision = half, and this is float"},
    {"distill.cache_topk=2", "with distill.cache_topk = 0, and this is 2"},
    {"distill.terms.1.teacher=layer2", "without the tap layer2 of teacher 1"},
    {"distill.teacher=other/last.safetensors", "from another teacher 1 (hash "},
    {"distill.terms.2.from=2", "without teacher 2"},
};

START_TEST(refuses_what_differs) {
    const session s = {.settings = {"distill.teacher=teacher/last.safetensors,teacher/best.safetensors"}};
    vst_cache_report report;
    vst_cache_size size;
    build_fine(s);
    run_fine((session){.recipe = teacher_recipe, .output = "other", .settings = {"run.epochs=1"}});
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        const session other = with(s, foreign[i].setting);
        expect(with(other, CACHE), VST_ERROR_ARGUMENT, foreign[i].text);
        ck_assert_ptr_nonnull(strstr(vst_error_message(), "the cache cache was made "));
        ck_assert_ptr_nonnull(strstr(vst_error_message(), "`vistill cache build RECIPE --force` rebuilds it"));
        expect_status(check_status(other, &report), VST_ERROR_ARGUMENT, foreign[i].text);
        expect_status(build(with(other, CACHE), (vst_cache_build_options){0}, &size), VST_ERROR_ARGUMENT,
                      foreign[i].text);
    }
    write_split(0, TRAIN, false);
    expect(with(s, CACHE), VST_ERROR_ARGUMENT, "for other training samples");
    write_split(0, TRAIN, true);
    expect(with(s, "distill.cache=none"), VST_ERROR_NOT_FOUND,
           "none/cache.json is not there: `vistill cache build RECIPE`");
    train(with(s, CACHE), "run"); /* the cases above did not change the cache */
    ck_assert_ptr_null(strstr(said, "warning"));
}
END_TEST

/* Mixed images depend on the batch size. */
START_TEST(refuses_other_batches) {
    const session s = {.settings = {"augment.mixup=0.8"}};
    build_fine(s);
    expect_said("it serves this seed and batches of 24 alone");
    expect(with(with(s, "optim.batch=20"), CACHE), VST_ERROR_ARGUMENT, "with optim.batch = 24, and this is 20");
    expect(with(with(s, "augment.mixup=0.7"), CACHE), VST_ERROR_ARGUMENT, "with another augmentation");
}
END_TEST

/* ---- Cut and changed files ---- */

START_TEST(broken_manifests) {
    vsti_cache cache = {0};
    size_t size;
    build_fine((session){0});
    char *text = read_whole("cache/cache.json", &size);
    for (size_t i = 0; i + 1 < size; i++) {
        write_bytes("cache/cache.json", (uint8_t *)text, i);
        expect_status(vsti_cache_read_manifest(&cache, "cache"), VST_ERROR_FORMAT, "build RECIPE --force");
    }
    for (size_t i = 0; i < size; i++) {
        text[i] ^= (char)(1 << i % 8);
        write_bytes("cache/cache.json", (uint8_t *)text, size);
        const vst_status status = vsti_cache_read_manifest(&cache, "cache");
        ck_assert_msg(status == VST_ERROR_FORMAT || status == VST_ERROR_UNSUPPORTED, "byte %zu: %s", i,
                      vst_status_name(status));
        text[i] ^= (char)(1 << i % 8);
    }
    write_bytes("cache/cache.json", (uint8_t *)text, size);
    ck_ok(vsti_cache_read_manifest(&cache, "cache"));
    vsti_cache_clear(&cache);
    free(text);
}
END_TEST

/* Malicious manifests with a valid checksum. `path`: a key, or one of the first teacher or of its first tap. */
static const struct {
    const char *object, *key, *value, *text;
} hostile[] = {
    {"", "format", "2", "another format than 1"},
    {"", "program", "\"0123456789012345678901234567890123456789\"", "'program'"},
    {"", "data", "\"12\"", "'data'"},
    {"", "view", "3", "'view'"},
    {"", "seed", "-1", "'seed'"},
    {"", "batch", "9999999999", "'batch'"},
    {"", "views", "[]", "'views'"},
    {"", "precision", "\"double\"", "'precision'"},
    {"", "topk", "null", "'topk'"},
    {"", "block", "0", "'block'"},
    {"", "block", "9000000000000000000", "'block'"},
    {"", "done", "281474976710656", "'teachers'"},
    {"", "done", "0", "'teachers'"},
    {"", "teachers", "{}", "'teachers'"},
    {"", "teachers", "[1,2,3,4,5]", "'teachers'"},
    {"", "teachers", "[null]", "'teachers'"},
    {"teacher", "number", "0", "'teachers'"},
    {"teacher", "number", "5", "'teachers'"},
    {"teacher", "hash", "\"ABCDEF0123456789\"", "'teachers'"},
    {"teacher", "top1", "\"x\"", "'teachers'"},
    {"teacher", "taps", "[]", "'teachers'"},
    {"teacher", "taps", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", "'teachers'"},
    {"teacher", "sums", "[\"0123456789abcdef\"]", "'teachers'"},
    {"teacher", "sums", "[1,2,3]", "'teachers'"},
    {"tap", "name", "3", "'teachers'"},
    {"tap", "name",
     "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"",
     "'teachers'"},
    {"tap", "shape", "[-4]", "'teachers'"},
    {"tap", "shape", "[4294967296, 4294967296]", "'teachers'"},
    {"tap", "shape", "[2147483648]", "'teachers'"},
    {"tap", "shape", "[1,1,1,1,1,1,1]", "'teachers'"},
};

START_TEST(hostile_manifests) {
    const int flags = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
    vsti_cache cache = {0};
    size_t size;
    build_fine((session){0});
    char *text = read_whole("cache/cache.json", &size), sum[17];
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        json_t *head = json_loads(text, 0, NULL), *teacher = json_array_get(json_object_get(head, "teachers"), 0);
        json_t *tap = json_array_get(json_object_get(teacher, "taps"), 0);
        json_t *object = !*hostile[i].object ? head : strcmp(hostile[i].object, "tap") == 0 ? tap : teacher;
        json_object_set_new(object, hostile[i].key, json_loads(hostile[i].value, JSON_DECODE_ANY, NULL));
        json_object_del(head, "checksum");
        char *changed = json_dumps(head, flags);
        snprintf(sum, sizeof sum, "%016llx", (unsigned long long)XXH3_64bits(changed, strlen(changed)));
        json_object_set_new(head, "checksum", json_string(sum));
        ck_assert_int_eq(json_dump_file(head, "cache/cache.json", flags), 0);
        free(changed);
        json_decref(head);
        const vst_status status = vsti_cache_read_manifest(&cache, "cache");
        expect_status(status, i ? VST_ERROR_FORMAT : VST_ERROR_UNSUPPORTED, hostile[i].text);
    }
    free(text);
}
END_TEST

START_TEST(broken_data) {
    static const size_t places[] = {0, RECORD - 1, PLACES * RECORD, 3 * PLACES * RECORD - 1};
    const session s = with((session){.force = true}, CACHE);
    vst_cache_report report;
    size_t size;
    build_fine((session){0});
    char *bytes = read_whole("cache/teacher1.bin", &size);
    ck_assert_uint_eq(size, 3 * PLACES * RECORD);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        bytes[places[i]] ^= 1;
        write_bytes("cache/teacher1.bin", (uint8_t *)bytes, size);
        expect(s, VST_ERROR_FORMAT,
               "do not fit their checksum: the file was damaged; `vistill cache build RECIPE --force`");
        expect_status(check_status((session){0}, &report), VST_ERROR_FORMAT, "cache/teacher1.bin: bytes ");
        bytes[places[i]] ^= 1;
    }
    for (size_t left = 0; left < size; left += 9973) {
        write_bytes("cache/teacher1.bin", (uint8_t *)bytes, left);
        expect_status(check_status((session){0}, &report), VST_ERROR_FORMAT, "the file was cut");
    }
    write_bytes("cache/teacher1.bin", (uint8_t *)bytes, size - 1);
    expect(s, VST_ERROR_FORMAT, "records of 584 bytes: the file was cut; `vistill cache build RECIPE --force`");
    ck_assert_int_eq(unlink("cache/teacher1.bin"), 0);
    expect(s, VST_ERROR_NOT_FOUND, "cache/teacher1.bin: cannot be opened");
    free(bytes);
}
END_TEST

static void cut_the_cache(const vst_train_progress *p, void *user) {
    (void)user;
    if (p->epoch == 1 && p->step == 2) ck_assert_int_eq(truncate("cache/teacher1.bin", RECORD), 0);
}

/* A file that is truncated while it is read is an error, and the checkpoint is kept. */
START_TEST(cut_while_training) {
    build_fine((session){0});
    session s = with((session){0}, CACHE);
    s.also = cut_the_cache;
    expect(s, VST_ERROR_FORMAT, "cache/teacher1.bin: cut off at byte ");
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "Epoch 2 up to step 2 is saved: --resume continues in run"));
    ck_assert(exists("run/last.safetensors"));
    vst_cache_size size;
    ck_ok(build(with((session){0}, CACHE), (vst_cache_build_options){.force = true}, &size));
    s.also = NULL;
    s.resume = true;
    run_fine(s);
    expect_said("continuing run in epoch 2 at step 2");
}
END_TEST

/* ---- Checking against the teacher ---- */

START_TEST(check_reports) {
    const session s = {.settings = {_i ? FLOAT : "run.seed=0"}};
    vst_cache_report report;
    build_fine(s);
    ck_ok(check_status(s, &report));
    ck_assert(report.good);
    ck_assert_uint_ge(report.recomputed, 100);
    ck_assert_int_eq(report.tap_count, 2);
    ck_assert_str_eq(report.taps[0].tap, "logits");
    ck_assert_double_ge(report.taps[0].same_top1, _i ? 100 : 99);
    ck_assert(isnan(report.taps[1].same_top1));
    for (int i = 0; i < 2; i++) { /* a half has 11 bits */
        ck_assert_double_gt(report.taps[i].magnitude, 0);
        ck_assert_double_le(report.taps[i].mean_error, _i ? 0 : report.taps[i].magnitude / 2048);
        if (!_i) ck_assert_double_gt(report.taps[i].max_error, 0);
    }
}
END_TEST

/* A cache with valid checksums, but with outputs of another teacher. */
START_TEST(check_finds_wrong_answers) {
    vsti_cache cache = {0};
    vst_cache_report report;
    size_t size;
    build_fine((session){0});
    ck_ok(vsti_cache_read_manifest(&cache, "cache"));
    char *bytes = read_whole("cache/teacher1.bin", &size);
    memmove(bytes, bytes + RECORD, size - RECORD);
    write_bytes("cache/teacher1.bin", (uint8_t *)bytes, size);
    for (size_t i = 0; i < EPOCHS; i++)
        cache.teachers[0].sums[i] = XXH3_64bits(bytes + i * PLACES * RECORD, PLACES * RECORD);
    ck_ok(vsti_cache_write_manifest(&cache));
    vsti_cache_clear(&cache);
    free(bytes);
    ck_ok(check_status((session){0}, &report));
    ck_assert(!report.good);
    ck_assert_double_lt(report.taps[0].same_top1, 60);
}
END_TEST

/* ---- Records ---- */

START_TEST(records) {
    const float values[6] = {1, -2, 3, 0.5f, 3, -1};
    vsti_cache_teacher teacher = {.tap_count = 2,
                                  .taps = {{.name = "a", .floats = 6, .kept = 2}, {.name = "b", .floats = 6}}};
    uint32_t places[6];
    uint8_t record[64];
    float out[6], rest;
    double before = 0, after = 0;
    vsti_cache_largest(values, 6, 3, places, &rest);
    ck_assert(places[0] == 2 && places[1] == 4 && places[2] == 0);
    ck_assert_double_eq_tol(3 * exp(rest), exp(-2) + exp(0.5) + exp(-1), 1e-6);
    ck_assert(vsti_cache_lay_out(&teacher, VST_F16));
    ck_assert_uint_eq(teacher.record, 2 * (2 + 2) + 4 + 12);
    for (int i = 0; i < 2; i++) {
        ck_ok(vsti_cache_encode(&teacher.taps[i], VST_F16, values, places, record));
        ck_assert(vsti_cache_decode(&teacher.taps[i], VST_F16, record, out));
        for (int k = 0; i && k < 6; k++) ck_assert(out[k] == values[k]);
        if (i) continue;
        ck_assert(out[2] == 3 && out[4] == 3 && out[0] == out[1] && out[0] == out[5]);
        for (int k = 0; k < 6; k++) before += exp(values[k]), after += exp(out[k]);
        ck_assert_double_eq_tol(before, after, 1e-5);
    }
    record[0] = 6; /* a class that does not exist */
    ck_assert(!vsti_cache_decode(&teacher.taps[0], VST_F16, record, out));
    const float large[6] = {0, 65520}, broken[6] = {0, NAN}, extreme[6] = {-1e30f, -1e30f, 5, -2000, 1e30f, 0};
    expect_status(vsti_cache_encode(&teacher.taps[1], VST_F16, large, places, record), VST_ERROR_NUMERIC,
                  "tap b has the number 65520, which half precision cannot hold: set distill.cache_precision to float");
    ck_ok(vsti_cache_encode(&teacher.taps[1], VST_F32, large, places, record));
    expect_status(vsti_cache_encode(&teacher.taps[0], VST_F32, broken, places, record), VST_ERROR_NUMERIC,
                  "tap a has a number");
    vsti_cache_largest(extreme, 6, 1, places, &rest);
    ck_assert(places[0] == 4 && isfinite(rest));
    vsti_cache_largest(extreme, 2, 1, places, &rest);
    ck_assert(rest == -1e30f);
    teacher.taps[0].floats = 70000; /* class numbers no longer fit in 16 bits */
    ck_assert(vsti_cache_lay_out(&teacher, VST_F32));
    ck_assert_uint_eq(teacher.record, 2 * (4 + 4) + 4 + 24);
}
END_TEST

/* ---- Locks and memory ---- */

static void build_beside(const vst_train_progress *p, void *user) {
    (void)user;
    vst_cache_size size;
    char kept[sizeof said];
    if (p->epoch != 1 || p->step != 2) return;
    memcpy(kept, said, sizeof said);
    expect_status(build(with((session){0}, CACHE), (vst_cache_build_options){.force = true}, &size), VST_ERROR_IO,
                  "in use by another training or `vistill cache build`");
    memcpy(said, kept, sizeof said);
}

/* Building and checking do not change the caller's number of threads, even on failure. */
START_TEST(threads_are_restored) {
    vst_cache_report report;
    vst_cache_size size;
    omp_set_num_threads(3);
    build_fine((session){0});
    ck_assert_int_eq(omp_get_max_threads(), 3);
    ck_ok(check_status((session){0}, &report));
    ck_assert_int_eq(omp_get_max_threads(), 3);
    expect_status(build(with(with((session){0}, CACHE), "distill.teacher=none"), (vst_cache_build_options){0}, &size),
                  VST_ERROR_NOT_FOUND, "none");
    ck_assert_int_eq(omp_get_max_threads(), 3);
    expect_status(build(with((session){0}, FLOAT), (vst_cache_build_options){0}, &size), VST_ERROR_ARGUMENT,
                  "distill.cache is not set");
    ck_assert_int_eq(omp_get_max_threads(), 3);
    expect_status(build(with(with((session){0}, CACHE), "run.seed=9"), (vst_cache_build_options){0}, &size),
                  VST_ERROR_ARGUMENT, "seed");
    ck_assert_int_eq(omp_get_max_threads(), 3);
}
END_TEST

START_TEST(cache_is_locked) {
    session s = with((session){.also = build_beside}, CACHE);
    build_fine((session){0});
    train(s, "run");
    vst_cache_report report;
    ck_ok(check_status((session){0}, &report));
}
END_TEST

START_TEST(steps_allocate_nothing) {
    session s = with(kinds[_i], CACHE);
    build_fine(kinds[_i]);
    ck_ok(run(&s));
    const int steps = s.steps / EPOCHS;
    for (int i = 0; i < s.steps; i++)
        if (i % steps > 1) ck_assert_uint_eq(s.allocations[i], s.allocations[i - 1]);
}
END_TEST

/* Failing allocations while building, checking and training: the result is an error or unchanged. */
START_TEST(allocation_failures) {
    const vst_cache_build_options force = {.force = true};
    session s = {.recipe = recipe_text,
                 .settings = {"run.epochs=1", "data.limit=48", "data.labelled=40", "model.depth=1", "model.dim=8",
                              "optim.warmup_epochs=0", CACHE}};
    vst_recipe *recipe = read_recipe(&s);
    vst_cache_size size;
    vst_cache_report report;
    vst_train_result result;
    ck_ok(vst_cache_build(recipe, &force, &size));
    for (int what = 0; what < 3; what++) {
        uint64_t needed = 1;
        for (uint64_t n = 0; n <= needed; n += n ? 29 : 1) {
            const uint64_t before = vst_memory_count();
            vst_memory_fail_at(n);
            const vst_status status = what == 0   ? vst_cache_build(recipe, &force, &size)
                                      : what == 1 ? vst_cache_check(recipe, 24, NULL, &report)
                                                  : vst_train(recipe, &(vst_train_options){.force = true}, &result);
            vst_memory_fail_at(0);
            if (n == 0) needed = vst_memory_count() - before;
            ck_assert_msg(status == VST_ERROR_MEMORY || status == VST_OK, "allocation %d: %s, %s", (int)n,
                          vst_status_name(status), vst_error_message());
            ck_assert(n > 0 || status == VST_OK);
        }
        ck_ok(vst_cache_build(recipe, &force, &size));
    }
    vst_recipe_destroy(recipe);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cache");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, enter, leave_own_folder);
    tcase_add_loop_test(tests, same_as_online, 0, KINDS);
    tcase_add_test(tests, kinds_differ);
    tcase_add_test(tests, serves_others);
    tcase_add_loop_test(tests, largest_logits, 0, 2);
    tcase_add_loop_test(tests, training_resumes, 0, 5);
    tcase_add_test(tests, build_goes_on);
    tcase_add_test(tests, build_grows);
    tcase_add_test(tests, refuses_what_differs);
    tcase_add_test(tests, refuses_other_batches);
    tcase_add_test(tests, broken_manifests);
    tcase_add_test(tests, hostile_manifests);
    tcase_add_test(tests, broken_data);
    tcase_add_test(tests, cut_while_training);
    tcase_add_loop_test(tests, check_reports, 0, 2);
    tcase_add_test(tests, check_finds_wrong_answers);
    tcase_add_test(tests, records);
    tcase_add_test(tests, threads_are_restored);
    tcase_add_test(tests, cache_is_locked);
    tcase_add_loop_test(tests, steps_allocate_nothing, 0, 2);
    tcase_add_test(tests, allocation_failures);
    return run_suite("cache", tests);
}
