#!/bin/sh
# Other programs' weights as the start of a training and as its teacher. usage: test_strangers.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"
tiny=$2/tests/unit/import/tiny.pth # {model: …, model_ema: …}: a ViT of 8 pixels, one block, two classes

idx data 120 12 8 8
cat > teacher.yaml <<'END'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
optim: {name: sgd, batch: 12, lr: 0.05, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: teacher}
END
cat > student.yaml <<'END'
data: {path: data}
model: {name: vit_mini_patch4_28, dim: 8, depth: 1, heads: 2, image: 8, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: started, start: none, new_head: true}
END

# run.start names the entry that it takes, and run.start_entry another one.
expect 0 "start    $tiny, entry \"model_ema\": 18 tensors" "$vistill" train student.yaml -s run.start="$tiny"
expect 0 "start    $tiny, entry \"model\": 18 tensors" "$vistill" train student.yaml -s run.start="$tiny" -s run.start_entry=model -s run.output=other
expect 1 'run.start: '"$tiny"': it has no entry "ema"; it has "model", "model_ema"' "$vistill" train student.yaml -s run.start="$tiny" -s run.start_entry=ema -s run.output=none
expect 1 "with other contents of the start weights (run.start)" "$vistill" train student.yaml -s run.start="$tiny" -s run.start_entry=model --resume

# A teacher may be another program's file: its answers are those of the model file that was made of it.
expect 0 "test top-1" "$vistill" train teacher.yaml
expect 0 "written" "$vistill" export teacher/last.safetensors -o weights.safetensors
cat > wide.yaml <<'END'
base: teacher.yaml
model: {name: resnet8_cifar, image: 32, channels: 1, classes: 3, width: 16}
augment: {train: "random_resized_crop:size=32"}
run: {output: wide}
END
cat > taught.yaml <<'END'
base: student.yaml
distill: {teacher: wide/last.safetensors, terms: [{distance: kl}]}
run: {start: "", new_head: false, output: taught}
END
expect 1 "distill.teacher: weights.safetensors fits no model exactly" "$vistill" train taught.yaml -s distill.teacher=weights.safetensors
expect 0 "test top-1" "$vistill" train wide.yaml
expect 0 "written" "$vistill" export wide/last.safetensors -o wide.safetensors
expect 0 "test top-1" "$vistill" train taught.yaml
expect 0 "weights  wide.safetensors: 56 tensors as resnet8_cifar" "$vistill" train taught.yaml -s distill.teacher=wide.safetensors -s run.output=foreign
grep -q "nobody said how its images were normalised" out || fail "no warning about the teacher's normalisation: $(cat out)"
expect 0 "56 tensors as resnet8_cifar" "$vistill" train taught.yaml -s distill.teacher=wide.safetensors -s distill.teacher_model=resnet8_cifar -s run.output=named
expect 1 "distill.teacher: wide.safetensors does not fit resnet14_cifar" "$vistill" train taught.yaml -s distill.teacher=wide.safetensors -s distill.teacher_model=resnet14_cifar -s run.output=none
expect 1 "is a model file, which says itself what it is" "$vistill" train taught.yaml -s distill.teacher_model=resnet8_cifar -s run.output=none
for run in taught foreign named; do
    "$vistill" export $run/last.safetensors -o $run.safetensors > out
    cmp taught.safetensors $run.safetensors
done

# Weights without a normalisation are told apart from those with one, at import and whenever they are used.
"$vistill" import wide.safetensors -o unnamed.safetensors > out 2> err
grep -q "warning: unnamed.safetensors: nobody said" err || fail "import: $(cat err)"
"$vistill" eval unnamed.safetensors data > out 2> err
grep -q "warning: unnamed.safetensors: nobody said" err || fail "eval: $(cat err)"
"$vistill" import wide.safetensors -o named.safetensors --set mean=0 --set std=1 > out 2> err
"$vistill" eval named.safetensors data > out 2>> err
[ ! -s err ] || fail "warned of a normalisation that was given: $(cat err)"
echo "strangers' weights start and teach"
