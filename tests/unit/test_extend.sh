#!/bin/sh
# A new distance, preset, exporter and subcommand are one new file each: in a copy of the sources they are added, nothing else is
# touched, and the program that is built there knows them and works with them. usage: test_extend.sh BUILD SOURCE
set -eu
build=$1
source=$2
if grep -q '^VISTILL_SANITIZE:[^=]*=.' "$build/CMakeCache.txt"; then
    echo "skipped: once, in the ordinary build, is enough"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" > "$folder/log" 2>&1 || { echo "FAILED: $*"; tail -n 30 "$folder/log"; exit 1; }; }
says() { grep -q -e "$1" "$folder/log" || { echo "FAILED: '$1' is not in:"; cat "$folder/log"; exit 1; }; }

mkdir "$folder/copy"
for part in vision backbones datasets recipes cmake CMakeLists.txt; do cp -r "$source/$part" "$folder/copy/"; done
cat > "$folder/copy/recipes/distill/distances/made_up.c" <<'C'
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
cat > "$folder/copy/recipes/conf/presets/made-up.yaml" <<'Y'
# The last block follows the first half way.
distill:
  label_weight: 1
  terms:
    - {distance: made_up, from: student, student: features.0, teacher: features.-1, weight: 0.5, sharpness: 70}
Y
cat > "$folder/copy/recipes/deploy/exporters/made_up.c" <<'C'
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
cat > "$folder/copy/recipes/commands/made_up.c" <<'C'
/* `vistill greet`. */
#include <stdio.h>

#include "recipes/commands/main.h"

static int run(const vst_arguments *arguments) {
    printf("greetings, %s\n", arguments->words[0]);
    return VST_EXIT_OK;
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
onednn=$(sed -n 's/^VISTILL_ONEDNN_ROOT:[^=]*=//p' "$build/CMakeCache.txt")
quiet cmake -S "$folder/copy" -B "$folder/build" -DVISTILL_TESTS=OFF -DCMAKE_C_FLAGS=-O0 \
    ${onednn:+"-DVISTILL_ONEDNN_ROOT=$onednn"}
quiet cmake --build "$folder/build" -j 2
vistill=$folder/build/vistill
quiet "$vistill" explain
says "made_up .*sharp labels"
says "made_up.sharpness .*weight of the labels"
says "made-up .*half way"

# Black images of class 0, as CIFAR-10's binary version has them.
mkdir "$folder/data"
for name in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do
    head -c $((3073 * 8)) /dev/zero > "$folder/data/$name.bin"
done
mkdir "$folder/unlabelled"
cp "$source/tests/fuzz/corpus/fuzz_png/rgb" "$folder/unlabelled/a.png"
cat > "$folder/recipe.yaml" <<'Y'
data: {path: data}
model: {name: vit_mini_patch4_28, image: 32, channels: 3, dim: 16, depth: 2, heads: 2}
optim: {batch: 8, warmup_epochs: 0}
distill: {preset: made-up}
run: {epochs: 1, output: run}
Y
cd "$folder"
quiet "$vistill" train recipe.yaml
says "made_up, features.0 <- student.features.-1"
grep -q "sharpness: 70" run/recipe.yaml || { echo "FAILED: the distance's option is not in recipe.yaml"; exit 1; }
# Eight labels that are sure of one class of ten: 70 * 1 / 10.
grep -q '"train_term0_made_up": 7\.0' run/log.txt || { echo "FAILED: the labels are not those of the batch"; cat run/log.txt; exit 1; }
quiet "$vistill" explain --set distill.terms.0.sharpness=30 recipe.yaml
says "terms.0.sharpness *30 *2 "
if "$vistill" explain --set distill.terms.0.sharpnes=30 recipe.yaml > log 2>&1; then echo "FAILED: an unknown option is accepted"; exit 1; fi
says 'unknown key "sharpnes" in distill.terms.0; did you mean "sharpness"? (options of the distance made_up: sharpness)'
if "$vistill" train recipe.yaml --force --set data.path=unlabelled --set data.format=images --set data.test=data > log 2>&1; then
    echo "FAILED: labels are read that are not there"
    exit 1
fi
says "unlabelled has no labels, which the distance made_up of distill.terms.0 reads"
quiet "$vistill" export run/last.safetensors -o run/model.count
says "(count)"
grep -q '^[0-9][0-9]*$' run/model.count || { echo "FAILED: the exporter wrote nothing"; exit 1; }
quiet "$vistill" greet everybody
says "greetings, everybody"
echo "one new file each: the distance and the preset train, the exporter exports, the subcommand runs"
