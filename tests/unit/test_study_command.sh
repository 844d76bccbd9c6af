#!/bin/sh
# vistill study: usage: test_study_command.sh BUILD SOURCE. Runs find each other's models, share a cache of their teacher's answers,
# are kept when they are finished, and one seed at a time makes the same as all at once.
set -eu
. "$2/tests/unit/commands.sh"

idx data 120 12 8 8
cat > teacher.yaml <<'YAML'
data: {path: nowhere}
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
optim: {name: sgd, batch: 12, lr: 0.05, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12}
YAML
cat > student.yaml <<'YAML'
data: {path: nowhere}
augment: {train: "crop:padding=1"}
model: {name: vit_mini_patch4_28, dim: 8, depth: 1, heads: 2, image: 8, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12}
YAML
cat > soft.yaml <<'YAML'
base: student.yaml
distill: {teacher: teacher, cache: answers, terms: [{distance: kl}]}
YAML
cat > guided.yaml <<'YAML'
base: student.yaml
distill:
  teacher: teacher
  cache: answers
  terms: [{distance: kl}, {distance: mse, student: blocks.0, teacher: layer3, align: smaller, projector: linear}]
run: {epochs: 2}
YAML
cat > study.yaml <<'YAML'
output: all
seeds: [3, 5]
runs:
  - {name: teacher, recipe: teacher.yaml}
  - {name: plain, recipe: student.yaml}
  - {name: soft, recipe: soft.yaml}
  - {name: guided, recipe: guided.yaml}
  - {name: longer, recipe: student.yaml, set: {run.start: plain}}
YAML
expect 1 "nowhere" "$vistill" study study.yaml

# What cannot be distilled, or a teacher that is not there, is told before the first run trains.
sed 's/name: soft, recipe: soft.yaml/name: soft, recipe: soft.yaml, set: {distill.terms.0.teacher: layer9}/' study.yaml > wrong.yaml
expect 1 "run 'soft': distill.terms.0.teacher: all/teacher-seed3/last.safetensors: resnet8_cifar has no tap 'layer9'" \
    "$vistill" study wrong.yaml -s data.path=data -s run.epochs=2
sed 's/name: soft, recipe: soft.yaml/name: soft, recipe: soft.yaml, set: {distill.teacher: gone.safetensors}/' study.yaml > wrong.yaml
expect 1 "run 'soft': distill.teacher: gone.safetensors" "$vistill" study wrong.yaml -s data.path=data
[ ! -e all/teacher-seed3/last.safetensors ] || fail "a run began"

expect 0 "distill.terms.0.teacher" "$vistill" explain soft.yaml -s data.path=data -s distill.terms.0.teacher=layer9

# The cache is made once a seed, for the longest run and all taps, and both runs read it.
expect 0 "report: all/report.html" "$vistill" study study.yaml -s data.path=data
[ "$(grep -c "to be written" out)" = 2 ] || fail "not one cache a seed: $(cat out)"
grep -q "all/answers-seed3: 2 epochs of 120 images" out || fail "another cache: $(cat out)"
[ "$(grep -c "from the cache all/answers-seed" out)" = 4 ] || fail "the cache was not read: $(cat out)"
grep -q "^guided .* ± " out || fail "no deviation: $(cat out)"

# Nothing is done twice.
expect 0 "all/guided-seed5 is finished already" "$vistill" study study.yaml -s data.path=data
[ "$(grep -c "is finished already" out)" = 10 ] || fail "not all runs were kept: $(cat out)"
! grep -q "to be written" out || fail "the cache was made anew"

# A recipe whose teacher is there is refused when it is looked at.
expect 1 "has no tap 'layer9'" "$vistill" explain soft.yaml -s data.path=data -s distill.teacher=all/teacher-seed3/last.safetensors \
    -s distill.terms.0.teacher=layer9

# Another study in the same folder, which reads less, takes what is there.
sed -n '1,/plain/p; /soft/s/name: soft/name: other/p' study.yaml > less.yaml
expect 0 "all/plain-seed3 is finished already" "$vistill" study less.yaml -s data.path=data
grep -q "^other " out || fail "no other run: $(cat out)"
! grep -q "to be written" out || fail "the cache was made anew"

# A model file stands in a run's place: it is measured as it is, teaches, and the others' gain is told, on the page as well.
mkdir -p files
cp all/teacher-seed3/best.safetensors files/
cat > files/study.yaml <<'YAML'
output: filed
runs:
  - {name: big, model: best.safetensors}
  - {name: plain, recipe: ../student.yaml}
  - {name: soft, recipe: ../soft.yaml, set: {distill.teacher: big}}
YAML
expect 0 "report: filed/report.html" "$vistill" study files/study.yaml -s data.path=data
tr '\n' ' ' < out | grep -Eq "soft is right about [0-9.]+ % of the test images, .* plain, the same model trained without a teacher.* \
Against its teacher \(big, [0-9.]+ %\) it (gains|loses) " || fail "no verdict: $(cat out)"
grep -Eq "^big .* - +-$" out || fail "the file was trained: $(cat out)"
[ ! -e filed/big ] || fail "a folder for a file"
grep -q "Against its teacher (<b>big</b>" filed/report.html || fail "no verdict on the page"
grep -q "points</small></b><small>against the same model without a teacher<br>plain" filed/report.html || fail "no tile"
sed 's/best.safetensors/gone.safetensors/' files/study.yaml > files/gone.yaml
expect 1 "gone.safetensors" "$vistill" study files/gone.yaml -s data.path=data

# The disk is asked before the first run: no disk holds these forty terabytes.
sed '/^model/s/dim: 8, depth: 1, heads: 2/dim: 8192, depth: 100, heads: 128, mlp_ratio: 64/' student.yaml > huge.yaml
printf 'output: huge\nruns: [{name: small, recipe: student.yaml}, {name: huge, recipe: huge.yaml}]\n' > huge-study.yaml
expect 1 "free on its disk: make room there, or choose another folder" "$vistill" train huge.yaml -s data.path=data
expect 1 "free on its disk: make room there, or give the study file" \
    "$vistill" study huge-study.yaml -s data.path=data
[ ! -e huge/small ] || fail "a run began"

# One seed alone has the same folders, and the same figures. A cache with a path is the user's own, who makes it.
sed 's/all/apart/' study.yaml > apart.yaml
for seed in 3 5; do expect 0 "report: apart/report.html" "$vistill" study apart.yaml -s data.path=data --seeds $seed; done
for run in teacher plain soft guided longer; do
    for seed in 3 5; do
        for folder in all apart; do cut -d, -f1-6 "$folder/$run-seed$seed/summary.csv" > "$folder.csv"; done
        cmp all.csv apart.csv || fail "$run, seed $seed differs"
    done
done
sed -i 's|cache: answers|cache: cache/mine|' soft.yaml
sed -i 's/all/mine/' study.yaml
expect 1 "cache/mine/cache.json is not there" "$vistill" study study.yaml -s data.path=data --seeds 3
echo "runs of a study share what they can"
