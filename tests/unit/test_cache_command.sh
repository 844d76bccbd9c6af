#!/bin/sh
# vistill cache: builds, kills and continues, checks, trains with it. usage: test_cache_command.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 120 12 8 8
cat > teacher.yaml <<'END'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
optim: {name: sgd, batch: 12, lr: 0.05, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: teacher}
END
cat > student.yaml <<'END'
data: {path: data}
augment: {train: "crop:padding=1"}
model: {name: vit_mini_patch4_28, dim: 8, depth: 1, heads: 2, image: 8, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
distill: {teacher: teacher/last.safetensors, cache: answers/here, terms: [{distance: kl}]}
run: {epochs: 2, threads: 1, eval_batch: 12}
END
expect 0 "test top-1" "$vistill" train teacher.yaml
expect 2 '"make" is none of build, check, import' "$vistill" cache make student.yaml
expect 2 "Usage: vistill cache build|check RECIPE" "$vistill" cache build
expect 1 "distill.cache is not set" "$vistill" cache build student.yaml -s distill.cache=
expect 1 "answers/here/cache.json is not there: \`vistill cache build RECIPE\` makes the cache" "$vistill" train student.yaml
expect 1 "answers/here/cache.json is not there" "$vistill" cache check student.yaml
expect 1 "--epochs" "$vistill" cache build student.yaml --epochs 0

# Built, and there for good.
expect 0 "answers/here: 240 records of 2 complete epochs, 0.0 MB, 240 of them new" "$vistill" cache build student.yaml
expect 0 "nothing to do" "$vistill" cache build student.yaml
expect 0 "240 records recomputed" "$vistill" cache check student.yaml
"$vistill" cache check --json --samples 24 student.yaml > out
grep -q '"records":240,"blocks":2,"bytes":1440,"recomputed":24,.*"tap":"logits".*"same_top1":100.0.*"good":true' out || fail "$(cat out)"
expect 0 "answers  from the cache answers/here, no teacher runs" "$vistill" train student.yaml -s run.output=run
expect 1 "was made with run.seed = 0, and this is 1" "$vistill" train student.yaml -s run.output=other -s run.seed=1
expect 1 "has 2 of the run's 3 epochs" "$vistill" train student.yaml -s run.output=other -s run.epochs=3
expect 0 "360 records of 3 complete epochs, 0.0 MB, 120 of them new" "$vistill" cache build student.yaml --epochs 3
expect 1 "with augment.views = 0, and this is 2" "$vistill" cache build student.yaml -s augment.views=2
expect 0 "240 records of 2 complete views" "$vistill" cache build student.yaml -s augment.views=2 --force
expect 0 "test top-1" "$vistill" train student.yaml -s run.output=long -s augment.views=2 -s run.epochs=5

# A killed build goes on: whatever it left, in the end all is as if nothing had happened.
"$vistill" cache build student.yaml -s distill.cache=whole --epochs 40 > /dev/null 2>&1
for delay in 0.02 0.05 0.1 0.2; do
    timeout -s KILL $delay "$vistill" cache build student.yaml -s distill.cache=parts --epochs 40 > /dev/null 2>&1 || true
    timeout -s INT $delay "$vistill" cache build student.yaml -s distill.cache=parts --epochs 40 > /dev/null 2>&1 || true
done
expect 0 "4800 records of 40 complete epochs" "$vistill" cache build student.yaml -s distill.cache=parts --epochs 40
cmp parts/teacher1.bin whole/teacher1.bin
cmp parts/cache.json whole/cache.json
[ "$(ls parts)" = "$(ls whole)" ] || fail "the killed builds left: $(ls parts)"

# What is damaged is refused.
printf X | dd of=whole/teacher1.bin bs=1 seek=100 conv=notrunc 2> out
expect 1 "do not fit their checksum" "$vistill" cache check student.yaml -s distill.cache=whole
expect 1 "do not fit their checksum" "$vistill" train student.yaml -s distill.cache=whole -s run.output=other
expect 0 "of them new" "$vistill" cache build student.yaml -s distill.cache=whole --force
expect 0 "checksums fit" "$vistill" cache check student.yaml -s distill.cache=whole
echo "the cache keeps its word"
