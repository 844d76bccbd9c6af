#!/bin/sh
# OpenMP may give fewer threads than it was asked for; every command computes with those that it has, and answers the same. Each
# command ends. usage: test_teams.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 120 60 16 16
cat > recipe.yaml <<'END'
data: {path: data}
model: {name: deit_mini_distilled_patch4_28, dim: 64, depth: 2, heads: 2, image: 16, channels: 1, classes: 3}
optim: {batch: 40, warmup_epochs: 0}
run: {epochs: 2, eval_batch: 30, output: run}
END
export OMP_NUM_THREADS=3
expect 0 "test top-1" "$vistill" train recipe.yaml
"$vistill" eval run/last.safetensors data --json > whole
grep -o '"top1":[^,]*' whole > expected || fail "no top-1 in $(cat whole)"
for limit in OMP_THREAD_LIMIT=1 OMP_THREAD_LIMIT=2 OMP_MAX_ACTIVE_LEVELS=0 OMP_DYNAMIC=true OMP_NUM_THREADS=1; do
    expect 0 "test top-1" timeout 60 env $limit "$vistill" train recipe.yaml --force
    timeout 60 env $limit "$vistill" eval run/last.safetensors data --json > part || fail "$limit: eval: exit code $?"
    grep -o '"top1":[^,]*' part > given
    cmp expected given || fail "$limit: $(cat given), expected $(cat expected)"
done
# What is asked for and cannot be had is said, and computed on no part of the threads.
expect 1 "2 threads are needed to compute, and OpenMP gives 1" \
    env OMP_THREAD_LIMIT=1 "$vistill" train recipe.yaml --force -s run.threads=2
# The threads of the environment are those of a training that names none.
expect 0 "the run used 2 threads, now there are 3: it will not be the same bit for bit" sh -c "
    OMP_NUM_THREADS=2 timeout --foreground -s INT 1 '$vistill' train recipe.yaml --force -s run.epochs=1000 -s run.log_seconds=0
    timeout 60 '$vistill' train recipe.yaml --resume -s run.epochs=1000 --dry-run || true
    timeout --foreground -s INT 5 '$vistill' train recipe.yaml --resume -s run.epochs=1000 || true"
