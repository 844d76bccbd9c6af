#!/bin/sh
# A study from a teacher to 8-bit integers: a run that quantises an earlier one, and one that trains for integers.
# usage: test_study_chain.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 120 24 8 8
cat > teacher.yaml <<'YAML'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
optim: {name: sgd, batch: 12, lr: 0.05, warmup_epochs: 0}
run: {epochs: 2, threads: 1, eval_batch: 12}
YAML
cat > student.yaml <<'YAML'
data: {path: data}
model: {name: vit_mini_patch4_28, dim: 32, depth: 2, heads: 2, image: 8, channels: 1, classes: 3}
optim: {batch: 12, lr: 3e-3, warmup_epochs: 0}
distill: {teacher: teacher, terms: [{distance: kl}]}
run: {epochs: 3, threads: 1, eval_batch: 12}
YAML
cat > aware.yaml <<'YAML'
base: student.yaml
optim: {lr: 3e-4}
distill: {teacher: student}
run: {epochs: 1, start: student, quantization_aware: true, calibration_images: 24}
YAML
cat > chain.yaml <<'YAML'
output: chain
runs:
  - {name: teacher, recipe: teacher.yaml}
  - {name: student, recipe: student.yaml}
  - {name: int8, quantize: student, set: {max_drop: -1, images: 40, held_out: 60}}
  - {name: aware, recipe: aware.yaml}
  - {name: further, recipe: aware.yaml, set: {run.start: int8}}
YAML

# What cannot be is told before the first run trains.
sed 's/quantize: student/quantize: aware/' chain.yaml > wrong.yaml
expect 1 "wrong.yaml:5:18: quantize: no run before it is called \"aware\"" "$vistill" study wrong.yaml
sed 's/max_drop: -1/max_loss: -1/' chain.yaml > wrong.yaml
expect 1 "max_loss" "$vistill" study wrong.yaml
sed 's/recipe: aware.yaml}/quantize: int8}/' chain.yaml > wrong.yaml
expect 1 "run 'aware': quantize: 'int8' is on integers already: name a run in float32" "$vistill" study wrong.yaml
sed 's/quantize: student/quantize: student, recipe: student.yaml/' chain.yaml > wrong.yaml
expect 1 "or an earlier run to quantise" "$vistill" study wrong.yaml
[ ! -e chain/teacher/last.safetensors ] || fail "a run began"

expect 0 "report: chain/report.html" "$vistill" study chain.yaml
grep -q "^--- int8, seed 0 (3 of 5)" out || fail "the quantised run was not counted: $(cat out)"
grep -Eq "^run +test top-1 % +as float % +MB" out || fail "no agreement with float32: $(cat out)"
cp out table
for run in int8 aware further; do
    grep -Eq "^$run +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$" table || fail "$run: $(cat table)"
    "$vistill" info chain/$run/last.safetensors > info
    grep -q "8-bit integers" info || fail "$run is not on integers: $(cat info)"
done
grep -Eq "^student +[0-9.]+ +- " table || fail "the float32 run has an agreement with itself: $(cat table)"
grep -q "On 8-bit integers (" table || fail "the last lines say nothing of integers: $(cat table)"
grep -q "on 8-bit integers, against float32" chain/report.html || fail "no tile"
grep -q "as in<br>float32 %" chain/report.html || fail "no column"

# Nothing is done twice; another source or other options make it anew.
sum() { cksum < chain/int8/last.safetensors; }
before=$(sum)
expect 0 "chain/int8 is finished already" "$vistill" study chain.yaml
[ "$(grep -c "is finished already" out)" = 5 ] || fail "not all runs were kept: $(cat out)"
[ "$(sum)" = "$before" ] || fail "it was written again"
sed '/further/d; s/images: 40/images: 7/' chain.yaml > other.yaml
"$vistill" study other.yaml > out 2>&1 || fail "$(cat out)"
! grep -q "chain/int8 is finished already" out || fail "other options, and it was kept"
[ "$(sum)" != "$before" ] || fail "other options gave the same file"
printf broken > chain/int8/last.safetensors
"$vistill" study other.yaml > out 2>&1 || fail "$(cat out)"
grep -q "it is made anew" out || fail "a broken file was not made anew: $(cat out)"

# Several seeds; a model file may be quantised, with the images of the first recipe.
cp chain/student/best.safetensors student.safetensors
cat > seeds.yaml <<'YAML'
output: seeds
seeds: [0, 1]
runs:
  - {name: file, model: student.safetensors}
  - {name: file8, quantize: file, set: {max_drop: -1}}
  - {name: plain, recipe: student.yaml, set: {distill.teacher: file8, run.epochs: 1}}
  - {name: plain8, quantize: plain, set: {max_drop: -1}}
YAML
expect 0 "report: seeds/report.html" "$vistill" study seeds.yaml
grep -Eq "^plain8 .* ± " out || fail "no deviation: $(cat out)"
[ -e seeds/plain8-seed1/last.safetensors ] || fail "no model of the second seed"
printf 'runs: [{name: file, model: student.safetensors}, {name: file8, quantize: file}]\n' > files.yaml
expect 1 "no recipe of the study says which images" "$vistill" study files.yaml
echo "a study goes from a teacher to integers"
