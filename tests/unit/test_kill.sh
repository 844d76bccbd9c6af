#!/bin/sh
# vistill train, killed at several moments and continued: the same weights as if nothing had happened, with all that has a state of
# its own: teacher's cache, moving average, mixup and CutMix, stochastic depth, repeats. usage: test_kill.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 240 12 16 16
cat > teacher.yaml <<'END'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 16, channels: 1, classes: 3}
optim: {name: sgd, batch: 12, lr: 0.05, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: teacher}
END
cat > student.yaml <<'END'
data: {path: data}
augment: {train: "crop:padding=2", mixup: 0.8, cutmix: 1, repeats: 3}
model: {name: deit_mini_distilled_patch4_28, dim: 32, depth: 3, heads: 2, drop_path: 0.2, image: 16, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0, ema_decay: 0.9, smoothing: 0.1}
distill:
  teacher: teacher/last.safetensors
  cache: answers
  terms: [{distance: hard, student: logits_dist}, {distance: mse, student: blocks.1, teacher: layer3, projector: mlp, align: smaller}]
run: {epochs: 30, threads: 1, eval_batch: 12, output: whole}
END
expect 0 "test top-1" "$vistill" train teacher.yaml
expect 0 "30 complete epochs" "$vistill" cache build student.yaml
expect 0 "test top-1" "$vistill" train student.yaml

# Killed once so many epochs are complete, a little later each time: within an epoch, while evaluating, while saving. Checkpoints
# are written within epochs as well, every 6 milliseconds.
epochs() { cat parts/summary.csv 2> /dev/null | wc -l; } # and the line of titles
killed=0 within=0
for target in 2 6 7 12 17 24; do
    "$vistill" train student.yaml -s run.output=parts -s run.save_minutes=1e-4 --resume > out 2>&1 &
    process=$!
    while kill -0 $process 2> /dev/null && [ "$(epochs)" -le $target ]; do sleep 0.01; done
    sleep 0.0$target
    kill -KILL $process 2> /dev/null || true
    code=0
    wait $process 2> /dev/null || code=$?
    [ $code != 137 ] || killed=$((killed + 1))
    ! grep -q "at step [1-9]" out || within=$((within + 1))
    [ ! -e parts/lock ] || flock parts/lock true # a large process takes a moment to die, and holds its folder meanwhile
done
[ $killed -ge 5 ] || fail "only $killed of 6 were killed: $(cat out)"
[ $within -ge 1 ] || fail "none of $killed was continued within an epoch"
expect 0 "test top-1" "$vistill" train student.yaml -s run.output=parts --resume
for file in last best; do
    tensors whole/$file.safetensors > whole.bin
    tensors parts/$file.safetensors > parts.bin
    cmp whole.bin parts.bin || fail "$file.safetensors differs"
done
for run in whole parts; do cut -d, -f1-6 $run/summary.csv > $run.csv; done
cmp whole.csv parts.csv || fail "summary.csv differs"

# Ctrl-C (here SIGTERM: a shell starts its background with SIGINT ignored, and that stays so) says what happens.
"$vistill" train student.yaml -s run.output=stopped -s run.epochs=100000 -s distill.cache= > out 2>&1 &
process=$!
while ! grep -q "epoch 2/" out; do kill -0 $process 2> /dev/null || fail "ended: $(cat out)"; sleep 0.01; done
kill -TERM $process
code=0
wait $process 2> /dev/null || code=$?
grep -q "stopping after this step; Ctrl-C again ends at once" out || fail "nothing is said of Ctrl-C: $(cat out)"
[ $code = 130 ] && grep -q -- "--resume continues in stopped" out || fail "code $code: $(cat out)"
echo "killed $killed times, $within within an epoch, and the same weights"
