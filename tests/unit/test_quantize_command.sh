#!/bin/sh
# vistill quantize: the model file that it writes, its table and JSON, the same answers on narrower processors, refusals.
# usage: test_quantize_command.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx data 240 60 8 8
cat > recipe.yaml <<'END'
data: {path: data}
model: {name: vit_mini_patch4_28, dim: 48, depth: 2, heads: 3, image: 8, channels: 1, classes: 3}
optim: {batch: 24, lr: 0.002, warmup_epochs: 0}
run: {epochs: 4, threads: 1, eval_batch: 60, output: student}
END
expect 0 "test top-1" "$vistill" train recipe.yaml
model=student/last.safetensors

expect 2 "-o FILE is missing, the model file to write" "$vistill" quantize $model data
expect 1 "cannot be opened" "$vistill" quantize nothing.safetensors data -o int8.safetensors
expect 1 "nowhere/int8.safetensors cannot be written" "$vistill" quantize $model nodata -o nowhere/int8.safetensors
expect 1 "the float32 model itself" "$vistill" quantize $model data -o ./$model
expect 1 "--max-drop many: expected a number" "$vistill" quantize $model data -o int8.safetensors --max-drop many
[ ! -e int8.safetensors ] || fail "a refused command wrote a file"

"$vistill" quantize $model data -o int8.safetensors --all --images 64 --held-out 120 > out
grep -q '^patch_embed.proj  *float32 (image)' out || fail "$(cat out)"
grep -q '^blocks.1.mlp.fc2  *int8' out || fail "$(cat out)"
grep -q '^layers  *9 of 10 on 8-bit integers' out || fail "$(cat out)"
grep -q '^images  *64 for calibration, 120 others' out || fail "$(cat out)"
[ "$(wc -L < out)" -le 80 ] || fail "lines of more than 80 columns: $(cat out)"
[ "$(wc -c < int8.safetensors)" -lt "$(($(wc -c < $model) / 2))" ] || fail "int8.safetensors is no smaller"

# Every command takes it, and narrower processors answer the same.
"$vistill" eval --json int8.safetensors data | sed 's/,"ms_per_image.*//' > wide
ONEDNN_MAX_CPU_ISA=AVX2 "$vistill" eval --json int8.safetensors data | sed 's/,"ms_per_image.*//' > narrow
sed 's/"loss":[0-9.e-]*,//' wide > a
sed 's/"loss":[0-9.e-]*,//' narrow > b
cmp a b || fail "$(cat wide narrow)"
"$vistill" eval --json $model data > exact
drop=$(cat exact wide | sed 's/.*"top1":\([0-9.]*\).*/\1/' | tr '\n' ' ' | awk '{ print ($1 > $2 ? $1 - $2 : $2 - $1) }')
awk "BEGIN { exit !($drop <= 5) }" || fail "top-1 is $drop points off: $(cat exact wide)"
expect 0 "on 8-bit integers" "$vistill" info int8.safetensors
expect 0 "parameters" "$vistill" info $model
expect 0 "warning: plain.safetensors: the weights of the model's 9 int8 layers are written as float32" \
    "$vistill" export int8.safetensors -o plain.safetensors
"$vistill" export $model -o plain.safetensors 2> out > out2
[ ! -s out ] || fail "a warning about a float32 model: $(cat out)"
expect 1 "quantised already" "$vistill" quantize int8.safetensors data -o again.safetensors
expect 1 "give the float32 model it was made from" "$vistill" import int8.safetensors -o again.safetensors
"$vistill" quantize $model data -o int8.safetensors --json --images 64 --held-out 120 > out
grep -q '"calibration_images":64,"held_out_images":120,"top1_float":.*"layers":\[{"name":"patch_embed.proj","type":"float32"' out ||
    fail "$(cat out)"

# Unlabelled images calibrate as well.
mkdir images
for i in 1 2 3 4 5 6; do cp "$2/tests/unit/pixels/$(cd "$2/tests/unit/pixels" && ls | grep -m1 '\.jpg$')" images/$i.jpg; done
expect 0 "of the predictions are those of float32" "$vistill" quantize $model images -o int8.safetensors --all
