#!/bin/sh
# Commands that need more memory than there is say what takes less. usage: test_memory.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 240 240 16 16
cat > recipe.yaml <<'END2'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 16, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: run}
END2
"$vistill" train recipe.yaml > log 2>&1 || fail "$(cat log)"
"$vistill" import run/best.safetensors --model resnet8_cifar -s width=4 -s channels=1 -s classes=3 -s image=4096 -o large.safetensors > log 2>&1 ||
    fail "$(cat log)"
cp recipe.yaml taught.yaml
echo 'distill: {teacher: large.safetensors, cache: cache, terms: [{distance: kl}]}' >> taught.yaml
little() { (ulimit -v 1500000 && exec "$@"); } # kB
export OMP_NUM_THREADS=1
if ! little "$vistill" models > log 2>&1; then
    echo "skipped: the program does not start with so little address space, as with a sanitizer"
    exit 77
fi
little "$vistill" eval run/best.safetensors data > log 2>&1 || fail "the limit is too narrow for the test: $(cat log)"

large="-s model.image=4096 -s augment.train=resize:size=4096"
expect 1 "a smaller optim.batch, run.eval_batch or data.workers" little "$vistill" train recipe.yaml $large -s run.output=other
expect 1 "a smaller optim.batch, run.eval_batch or data.workers" little "$vistill" train recipe.yaml --dry-run $large
expect 1 "a smaller optim.batch, run.eval_batch or data.workers" little "$vistill" cache build taught.yaml
expect 1 "a smaller --batch or --workers" little "$vistill" eval large.safetensors data
expect 1 "a smaller --batch" little "$vistill" quantize large.safetensors data -o int8.safetensors
[ ! -e int8.safetensors ] || fail "a refused command wrote a file"
