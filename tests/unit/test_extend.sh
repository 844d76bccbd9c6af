#!/bin/sh
# A new operation (with a kernel: two files; so an optimiser), backbone, data set format, augmentation, schedule, distance, preset,
# exporter and subcommand are one new file each: in a copy of the sources they are added, nothing else is touched, and the program that is built there knows
# them and works with them. The copy stays in BUILD/extend, so that the next time only what changed is compiled.
# usage: test_extend.sh BUILD SOURCE
set -eu
build=$1
source=$2
if grep -q '^VISTILL_SANITIZE:[^=]*=.' "$build/CMakeCache.txt"; then
    echo "skipped: once, in the ordinary build, is enough"
    exit 77
fi
folder=$(mktemp -d)
copy=$build/extend/copy
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" > "$folder/log" 2>&1 || { echo "FAILED: $*"; tail -n 30 "$folder/log"; exit 1; }; }
says() { grep -q -e "$1" "$folder/log" || { echo "FAILED: '$1' is not in:"; cat "$folder/log"; exit 1; }; }

rm -rf "$copy"
mkdir -p "$copy"
# With the times of the files, or all of it would be compiled anew.
for part in vision backbones datasets recipes cmake CMakeLists.txt vistill.h vistill_plugin.h; do cp -Rp "$source/$part" "$copy/"; done

# ---- Operations: one of the kernels that there are, and one with a kernel of its own ----
cat > "$copy/vision/ops/made_square.c" <<'C'
/* x * x. */
#include "vision/ops/operation.h"

vst_value made_square(vst_graph *g, vst_value x);

static void run(void *const *buffers, const void *count, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->mul(buffers[0], buffers[0], buffers[1], *(const int64_t *)count);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const int64_t count = vsti_count(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &count, sizeof count, buffers, 2);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *g = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0);
    const vst_value slope = vst_scale(g, vsti_saved(gradients, x), 2);
    vsti_add_gradient(gradients, x, vst_mul(g, vsti_incoming(gradients, node, 0), slope));
}

vst_value made_square(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {.name = "made_square",
                                             .outputs = 1,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
C
cat > "$copy/vision/kernels/made_cube.c" <<'C'
/* x * x * x. */
#include "vision/kernels/isa.h"

VSTI_OWN_KERNEL(made_cube, const float *x, float *y, int64_t n);

void K(made_cube)(const float *x, float *y, int64_t n) {
#pragma omp parallel for simd schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * x[i] * x[i];
}
C
sed -e 's/x \* x\./x * x * x, by a kernel of its own./' -e 's/made_square/made_cube/g' \
    -e 's/vsti_get_kernels()->mul(buffers\[0\], /vsti_own_made_cube()(/' \
    -e 's/vst_scale(g, \(vsti_saved(gradients, x)\), 2)/vst_scale(g, vst_mul(g, \1, \1), 3)/' \
    -e '/^vst_value made_cube.*;$/i VSTI_OWN_KERNEL(made_cube, const float *x, float *y, int64_t n);' \
    "$copy/vision/ops/made_square.c" > "$copy/vision/ops/made_cube.c"

# ---- A backbone of both, a data set format, an augmentation ----
cat > "$copy/backbones/made_up.c" <<'C'
/* Two convolutions. */
#include "backbones/layers.h"

vst_value made_square(vst_graph *g, vst_value x);
vst_value made_cube(vst_graph *g, vst_value x);

typedef struct made_up {
    vst_model_common common;
    int width;
} made_up;

static const vst_option options[] = {VST_MODEL_COMMON_OPTIONS(made_up, 32, 3, 10),
                                     VST_OPTION_INT(made_up, width, 8, 1, 1024, "channels"), VST_OPTION_END};
static const vst_backbone_variant variants[] = {{"made_up_tiny", ""}, {NULL, NULL}};

static void build(vst_graph *g, vst_value x, const void *raw) {
    const made_up *o = raw;
    x = vsti_conv(g, x, "stem", (vst_conv2d_options){.out = o->width, .kernel = 4, .stride = 4, .bias = true});
    vst_tap(g, "layer1", x);
    x = vst_add(g, x, made_square(g, x));
    x = vsti_conv(g, x, "conv", (vst_conv2d_options){.out = o->width, .kernel = 3, .padding = 1, .bias = true});
    x = vst_add(g, x, made_cube(g, x));
    vst_tap(g, "layer2", x);
    vsti_pooled_head(g, x, "fc", (vst_linear_options){.features = o->common.classes, .bias = true});
}

extern const vst_backbone vsti_backbone_made_up;
const vst_backbone vsti_backbone_made_up = {.name = "made_up",
                                            .help = "made-up family",
                                            .options = options,
                                            .options_size = sizeof(made_up),
                                            .variants = variants,
                                            .build = build};
C
cat > "$copy/datasets/made_up.c" <<'C'
/* train.made and test.made: a digit for each image, which is its class and its brightness. */
#include <stdio.h>
#include <string.h>

#include "datasets/dataset.h"
#include "vision/base/memory.h"

enum { SIDE = 32, MOST = 1000 };

typedef struct made_up {
    vst_dataset base;
    char path[4096], digits[MOST];
} made_up;

static vst_status read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    const made_up *self = (const made_up *)dataset;
    const vst_status status = vst_image_allocate(image, 3, SIDE, SIDE);
    if (status != VST_OK) return status;
    *label = self->digits[index] - '0';
    memset(image->pixels, 20 * *label, 3 * SIDE * SIDE);
    return VST_OK;
}

static vst_status hash(const vst_dataset *dataset, uint64_t *hash) {
    const made_up *self = (const made_up *)dataset;
    *hash = 0;
    for (uint64_t i = 0; i < dataset->count; i++) *hash = *hash * 31 + (uint64_t)self->digits[i];
    return VST_OK;
}

static void close(vst_dataset *dataset) { vst_free(dataset); }

static const vst_dataset_methods methods = {.read = read, .hash = hash, .close = close};
static const char *const names[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};

static FILE *open_split(const char *path, const char *split, char name[4096]) {
    snprintf(name, 4096, "%s/%s.made", path, split);
    return fopen(name, "r");
}

static vst_status open(vst_dataset **out, const char *path, const char *split) {
    made_up *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    FILE *file = open_split(path, split, self->path);
    if (file) self->base.count = fread(self->digits, 1, MOST, file);
    if (file) fclose(file);
    self->base.methods = &methods;
    self->base.path = self->path;
    self->base.channels = 3;
    self->base.classes = 10;
    self->base.class_names = names;
    if (self->base.count > 0) {
        *out = &self->base;
        return VST_OK;
    }
    vst_free(self);
    return vst_fail(VST_ERROR_IO, "%s: no digits for %s", path, split);
}

static bool probe(const char *path) {
    char name[4096];
    FILE *file = open_split(path, "train", name);
    if (file) fclose(file);
    return file != NULL;
}

extern const vst_dataset_format vsti_dataset_format_made_up;
const vst_dataset_format vsti_dataset_format_made_up = {
    .name = "made_up", .help = "made-up files", .probe = probe, .open = open};
C
cat > "$copy/datasets/augment/made_up.c" <<'C'
/* Every pixel gets one value. */
#include <string.h>

#include "datasets/augment/augment.h"

typedef struct made_up {
    int value;
} made_up;

static const vst_option options[] = {VST_OPTION_INT(made_up, value, 255, 0, 255, "of every pixel"), VST_OPTION_END};

static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    (void)random;
    (void)scratch;
    memset(image->pixels, ((const made_up *)opaque)->value,
           (size_t)image->channels * (size_t)image->height * (size_t)image->width);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_made_up;
const vst_augmentation vsti_augmentation_made_up = {
    .name = "made_up", .help = "one grey", .options = options, .options_size = sizeof(made_up), .apply = apply};
C

# ---- An optimiser with an option and a kernel of its own, a schedule ----
cat > "$copy/vision/optim/methods/made_up.c" <<'C'
/* Every value falls by rate times a constant. */
#include "vision/kernels/kernels.h"
#include "vision/optim/methods/method.h"

VSTI_OWN_KERNEL(made_fall, float by, float *value, int64_t n);

typedef struct made_up {
    double constant;
} made_up;

static const vst_option options[] = {VST_OPTION_DOUBLE(made_up, constant, 1, 0, 10, "how fast it falls"), VST_OPTION_END};

static void update(const vst_update *u) {
    vsti_own_made_fall()((float)(u->rate * ((const made_up *)u->own)->constant), u->value, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_made_up;
const vst_optimizer_method vsti_optimizer_method_made_up = {.name = "made_up",
                                                            .help = "values fall",
                                                            .options = options,
                                                            .options_size = sizeof(made_up),
                                                            .update = update};
C
cat > "$copy/vision/kernels/optim_made_up.c" <<'C'
/* The fall. */
#include "vision/kernels/isa.h"

VSTI_OWN_KERNEL(made_fall, float by, float *value, int64_t n);

void K(made_fall)(float by, float *value, int64_t n) {
    for (int64_t i = 0; i < n; i++) value[i] -= by;
}
C
cat > "$copy/vision/optim/schedules/made_up.c" <<'C'
/* A third of lr. */
#include "vision/optim/schedules/schedule_method.h"

static double rate(const vst_schedule *schedule, const void *own, uint64_t after) {
    (void)own;
    (void)after;
    return schedule->rate / 3;
}

extern const vst_schedule_method vsti_schedule_method_made_up;
const vst_schedule_method vsti_schedule_method_made_up = {.name = "made_up", .help = "a third", .rate = rate};
C

# ---- A distance, a preset, an exporter, a subcommand ----
cat > "$copy/recipes/distill/distances/made_up.c" <<'C'
/* A little of the mean squared error, and how sharp the labels are. */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

typedef struct made_up_options {
    double sharpness;
} made_up_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(made_up_options, sharpness, 2, 0, 100, "weight of the labels"), VST_OPTION_END};

static vst_value build(const vst_distance_inputs *in) {
    const made_up_options *o = in->options;
    const vst_value squares = vst_reduce_mean(in->graph, vst_mul(in->graph, in->labels, in->labels), 3, false);
    return vst_add(in->graph, vst_scale(in->graph, vst_mse(in->graph, in->student, in->teacher), 1e-6),
                   vst_scale(in->graph, squares, o->sharpness));
}

extern const vst_distance vsti_distance_made_up;
const vst_distance vsti_distance_made_up = {.name = "made_up",
                                            .help = "sharp labels",
                                            .expects = VST_EXPECTS_SAME_SHAPE,
                                            .needs_labels = true,
                                            .options = options,
                                            .options_size = sizeof(made_up_options),
                                            .build = build};
C
cat > "$copy/recipes/conf/presets/made-up.yaml" <<'Y'
# The last block follows the first half way.
distill:
  label_weight: 1
  terms:
    - {distance: made_up, from: student, student: features.0, teacher: features.-1, weight: 0.5, sharpness: 70}
Y
cat > "$copy/recipes/deploy/exporters/made_up.c" <<'C'
/* The number of parameters as text. */
#include <stdio.h>

#include "recipes/deploy/exporters/exporter.h"
#include "vision/base/memory.h"

static vst_status write(const vst_model *model, const char *path, char **note) {
    FILE *file = fopen(path, "w");
    if (!file) return vst_fail(VST_ERROR_IO, "%s: %m", path);
    fprintf(file, "%zu\n", vst_params_numel(model->params));
    fclose(file);
    *note = vst_strdup("a number");
    return *note ? VST_OK : vst_fail_memory(9);
}

extern const vst_exporter vsti_exporter_made_up;
const vst_exporter vsti_exporter_made_up = {.name = "count", .help = "made up", .write = write};
C
cat > "$copy/recipes/commands/made_up.c" <<'C'
/* `vistill greet`: the operations' values and gradients at 2. */
#include <stdio.h>

#include "recipes/commands/main.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

vst_value made_square(vst_graph *g, vst_value x);
vst_value made_cube(vst_graph *g, vst_value x);

static vst_status differentiate(vst_value (*operation)(vst_graph *, vst_value), float *value, float *slope) {
    vst_status status = VST_OK;
    vst_params *params = NULL;
    vst_graph *graph = NULL;
    vst_program *program = NULL;
    vst_context *context = NULL;
    VST_TRY(vst_params_create(&params));
    VST_TRY(vst_graph_create(&graph, params));
    const vst_value x = vst_param(graph, "x", VST_SHAPE(1), (vst_init){0});
    const vst_value loss = vst_reduce_sum(graph, operation(graph, x), 1, false);
    vst_differentiate(graph, loss);
    VST_TRY(vst_graph_finish(graph));
    VST_TRY(vst_params_allocate(params, true, 1));
    vst_params_values(params)[0] = 2;
    VST_TRY(vst_program_create(&program, graph, &loss, 1, &(vst_program_options){.mode = VST_TRAIN}));
    VST_TRY(vst_context_create(&context, program, NULL));
    VST_TRY(vst_context_run(context, 0));
    *value = vst_context_output(context, 0)[0];
    *slope = vst_params_gradients(params)[0];
out:
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    float square[2], cube[2];
    VST_TRY(differentiate(made_square, &square[0], &square[1]));
    VST_TRY(differentiate(made_cube, &cube[0], &cube[1]));
    printf("greetings, %s: %g %g %g %g\n", arguments->words[0], (double)square[0], (double)square[1], (double)cube[0],
           (double)cube[1]);
out:
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{0}};
extern const vst_command vsti_command_made_up;
const vst_command vsti_command_made_up = {.name = "greet",
                                          .words = "NAME",
                                          .summary = "made up",
                                          .help = "",
                                          .flags = flags,
                                          .minimum = 1,
                                          .maximum = 1,
                                          .run = run};
C

# ---- Built ----
onednn=$(sed -n 's/^VISTILL_ONEDNN_ROOT:[^=]*=//p' "$build/CMakeCache.txt")
launcher=$(command -v ccache || true)
generator=$(sed -n 's/^CMAKE_GENERATOR:[^=]*=//p' "$build/CMakeCache.txt")
quiet cmake -G "$generator" -S "$copy" -B "$build/extend/build" -DVISTILL_TESTS=OFF -DCMAKE_C_FLAGS_RELEASE=-O0 \
    ${launcher:+"-DCMAKE_C_COMPILER_LAUNCHER=$launcher"} ${onednn:+"-DVISTILL_ONEDNN_ROOT=$onednn"}
quiet cmake --build "$build/extend/build" --target vistill_program -j 2
vistill=$build/extend/build/vistill

# ---- Used ----
quiet "$vistill" explain
says "made_up .*sharp labels"
says "made_up.sharpness .*weight of the labels"
says "made-up .*half way"
for isa in generic avx2 avx512; do # those that the processor lacks fall back
    quiet env VISTILL_ISA=$isa "$vistill" greet everybody
    says "greetings, everybody: 4 4 8 12"
done

mkdir "$folder/data"
for split in train test; do
    printf '0123456789012345678901234567890123456789' > "$folder/data/$split.made"
done
cd "$folder"
quiet "$vistill" data check data
quiet "$vistill" data preview data -o plain.png
quiet "$vistill" data preview data --augment made_up -o white.png
quiet "$vistill" data preview data --augment made_up:value=255 -o again.png
cmp -s white.png again.png || { echo "FAILED: the augmentation's option has no default"; exit 1; }
! cmp -s plain.png white.png || { echo "FAILED: the augmentation changes nothing"; exit 1; }
mkdir unlabelled
cp "$source/tests/fuzz/corpus/fuzz_png/rgb" unlabelled/a.png
cat > recipe.yaml <<'Y'
data: {path: data}
model: {name: made_up_tiny, width: 6}
augment: {train: "made_up:value=99"}
optim: {batch: 8, warmup_epochs: 0}
distill: {preset: made-up}
run: {epochs: 2, output: run}
Y
quiet "$vistill" train recipe.yaml
says "made_up, features.0 <- student.features.-1"
quiet "$vistill" info --plan run/last.safetensors
says "made_square"
says "made_cube"
quiet "$vistill" eval run/last.safetensors data
grep -q "sharpness: 70" run/recipe.yaml || { echo "FAILED: the distance's option is not in recipe.yaml"; exit 1; }
# Eight labels that are sure of one class of ten: 70 * 1 / 10.
grep -q '"train_term0_made_up": 7\.0' run/log.txt || { echo "FAILED: the labels are not those of the batch"; cat run/log.txt; exit 1; }
quiet "$vistill" explain --set distill.terms.0.sharpness=30 recipe.yaml
says "terms.0.sharpness *30 *2 "
quiet "$vistill" train recipe.yaml --set run.output=fallen --set optim.name=made_up --set optim.options=constant=0.5 \
    --set optim.schedule=made_up --set optim.lr=0.03 --set run.log_steps=1
grep -q ',0\.01,' fallen/steps.csv || { echo "FAILED: the schedule is not a third of 0.03"; cat fallen/steps.csv; exit 1; }
if "$vistill" train recipe.yaml --set run.output=no --set optim.name=made_up --set optim.options=constan=1 > log 2>&1; then
    echo "FAILED: an unknown option of an optimiser is accepted"
    exit 1
fi
says 'did you mean "constant"?'
if "$vistill" explain --set distill.terms.0.sharpnes=30 recipe.yaml > log 2>&1; then echo "FAILED: an unknown option is accepted"; exit 1; fi
says 'unknown key "sharpnes" in distill.terms.0; did you mean "sharpness"? (options of the distance made_up: sharpness)'
if "$vistill" train recipe.yaml --force --set data.path=unlabelled --set data.format=images --set data.test=data > log 2>&1; then
    echo "FAILED: labels are read that are not there"
    exit 1
fi
says "unlabelled has no labels, which the distance made_up of distill.terms.0 reads"
quiet "$vistill" export run/last.safetensors -o run/model.count
says "(count)"
# 6 * 48 + 6, 6 * 54 + 6 and 10 * 6 + 10 parameters
grep -qx 694 run/model.count || { echo "FAILED: the exporter wrote $(cat run/model.count)"; exit 1; }
echo "one new file each: operations, optimiser, schedule, backbone, format, augmentation, distance and preset train; exporter and subcommand run"
