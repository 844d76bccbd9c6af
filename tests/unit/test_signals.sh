#!/bin/sh
# A closed terminal, a closed pipe, a limit on file sizes, closed standard streams: a message and an exit code, and what was trained
# is kept. usage: test_signals.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 240 12 16 16
cat > recipe.yaml <<'END'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 16, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 2000, threads: 1, eval_batch: 12, output: run}
END

# The terminal is closed: as Ctrl-C, with a checkpoint.
train() { # SIGNAL COMMAND…: sends it once an epoch is complete
    signal=$1
    shift
    "$@" > log 2>&1 &
    process=$!
    while kill -0 $process 2> /dev/null && [ "$(cat run/summary.csv 2> /dev/null | wc -l)" -lt 2 ]; do sleep 0.02; done
    kill -s "$signal" $process
    kill -s "$signal" $process 2> /dev/null || true # of a closed terminal the kernel and the shell tell, of Ctrl-C wrappers
    code=0
    wait $process || code=$?
}
for signal in HUP TERM INT; do
    rm -rf run
    train $signal "$vistill" train recipe.yaml
    [ $code = 130 ] || fail "SIG$signal: exit code $code: $(cat log)"
    grep -q "interrupted: stopped in epoch .*--resume continues in run" log || fail "SIG$signal: $(cat log)"
    [ -s run/last.safetensors ] || fail "SIG$signal: no checkpoint"
done
# Under nohup the terminal may close.
rm -rf run
(trap '' HUP; exec "$vistill" train recipe.yaml > log 2>&1) &
process=$!
while kill -0 $process 2> /dev/null && [ "$(cat run/summary.csv 2> /dev/null | wc -l)" -lt 2 ]; do sleep 0.02; done
kill -s HUP $process
sleep 0.2
kill -0 $process 2> /dev/null || fail "nohup does not hold: $(cat log)"
kill -s TERM $process
wait $process || true
grep -q "interrupted" log || fail "SIGTERM under nohup: $(cat log)"

# Nobody reads the output any more.
(sleep 0.3; code=0; "$vistill" models || code=$?; echo $code > code) 2> error | true
sleep 0.1
while [ ! -s code ]; do sleep 0.05; done
[ "$(cat code)" = 141 ] || fail "a closed pipe: exit code $(cat code)"
[ ! -s error ] || fail "a closed pipe: $(cat error)"

# A limit on the size of files, which is below that of the model.
cp run/best.safetensors model.safetensors
expect 1 "File too large" sh -c "ulimit -f 8; '$vistill' export model.safetensors -f safetensors -o out.safetensors"
[ ! -e out.safetensors ] || fail "a part of a file is left"

# Closed standard streams are no place for the next file: messages went into the run's lock.
rm -rf run
"$vistill" train recipe.yaml -s run.epochs=1 > /dev/null 2>&- || fail "standard error closed: exit code $?"
[ -e run/lock ] && [ ! -s run/lock ] || fail "messages in the lock file: $(cat run/lock)"
"$vistill" train recipe.yaml -s run.epochs=1 --force 0<&- >&- 2>&- || fail "all closed: exit code $?"
[ ! -s run/lock ] || fail "messages in the lock file: $(cat run/lock)"

# A second Ctrl-C ends at once and says what is lost: the last checkpoint stays as it is, and --resume gives the bits of a run that
# nobody stopped. The process sleeps between the two, so that its step is still under way.
cat > slow.yaml <<'END'
data: {path: data}
model: {name: vit_mini_patch4_28, dim: 96, depth: 4, heads: 3, drop_path: 0.1, image: 16, channels: 1, classes: 3}
optim: {batch: 24, warmup_epochs: 0}
run: {epochs: 3, threads: 1, eval_batch: 12, save_minutes: 0}
END
expect 0 "test top-1" "$vistill" train slow.yaml -s run.output=whole
for attempt in 1 2 3 4 5 6; do
    rm -rf parts
    "$vistill" train slow.yaml -s run.output=parts > log 2>&1 &
    process=$!
    while kill -0 $process 2> /dev/null && [ "$(cat parts/summary.csv 2> /dev/null | wc -l)" -lt 2 ]; do sleep 0.01; done
    sleep 0.05
    kill -s STOP $process
    cp parts/last.safetensors before
    kill -s INT $process
    kill -s CONT $process
    while kill -0 $process 2> /dev/null && ! grep -q "stopping after this step; Ctrl-C again ends at once" log; do sleep 0.002; done
    kill -s STOP $process 2> /dev/null || true
    sleep 0.6
    kill -s INT $process 2> /dev/null || true
    kill -s CONT $process 2> /dev/null || true
    code=0
    wait $process || code=$?
    ! grep -q "ended at once" log || break
    grep -q "interrupted: stopped in epoch" log || fail "neither stopped nor ended: $(cat log)" # its step was over before
done
[ $code = 130 ] || fail "second Ctrl-C: exit code $code: $(cat log)"
grep -q "ended at once; the steps since the last checkpoint are lost" log || fail "second Ctrl-C, $attempt times: $(cat log)"
! grep -q "interrupted:" log || fail "it went on after the second Ctrl-C: $(cat log)"
# An end in the middle of the next checkpoint leaves this one as the previous.
cmp -s before parts/last.safetensors || cmp before parts/previous.safetensors || fail "the checkpoint was touched"
expect 0 "test top-1" "$vistill" train slow.yaml -s run.output=parts --resume
for file in last best; do
    tensors whole/$file.safetensors > whole.bin
    tensors parts/$file.safetensors > parts.bin
    cmp whole.bin parts.bin || fail "$file.safetensors differs after the second Ctrl-C"
done
