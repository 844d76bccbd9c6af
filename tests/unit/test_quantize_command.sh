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
grep -q '^scales  *moved between layers: ' out || fail "$(cat out)"
grep -q '^images  *64 for calibration, 120 others' out || fail "$(cat out)"
[ "$(wc -L < out)" -le 80 ] || fail "lines of more than 80 columns: $(cat out)"
[ "$(wc -c < int8.safetensors)" -lt "$(($(wc -c < $model) / 2))" ] || fail "int8.safetensors is no smaller"

# Every command takes it. Narrower processors give the same classes, and the same probabilities to a thousandth: sums on
# integers are exact everywhere, what is float32 between them is not.
answers() { "$vistill" classify --json -k 3 int8.safetensors data:0 data:1 data:2 data:7 data:11 data:29 data:44 data:59; }
"$vistill" eval --json int8.safetensors data | sed 's/,"ms_per_image.*//' > wide
sed 's/"loss":[0-9.e-]*,//' wide > a
answers > wide_answers
for width in AVX512_CORE_VNNI AVX512_CORE AVX2_VNNI AVX2; do
    for kernels in avx512 avx2 generic; do
        export ONEDNN_MAX_CPU_ISA=$width VISTILL_ISA=$kernels
        answers > narrow_answers
        sed 's/.*"top":\[{"class":\([0-9]*\).*/\1/' wide_answers > c
        sed 's/.*"top":\[{"class":\([0-9]*\).*/\1/' narrow_answers > d
        cmp c d || fail "other classes with $width and $kernels: $(cat wide_answers narrow_answers)"
        paste wide_answers narrow_answers | awk -v what="$width $kernels" '{
            count = 0
            while (match($0, /"probability":[0-9.e-]+/)) {
                value[count++] = substr($0, RSTART + 14, RLENGTH - 14)
                $0 = substr($0, RSTART + RLENGTH)
            }
            if (count != 6) { print what ": " count " probabilities"; exit 1 }
            for (i = 0; i < 3; i++) {
                off = value[i] - value[i + 3]
                if (off > 0.001 || off < -0.001) { print what ": " value[i] " and " value[i + 3]; exit 1 }
            }
        }' || fail "other probabilities on narrower processors"
    done
    "$vistill" eval --json int8.safetensors data | sed 's/,"ms_per_image.*//; s/"loss":[0-9.e-]*,//' > b
    cmp a b || fail "$width: $(cat a b)"
done
unset ONEDNN_MAX_CPU_ISA VISTILL_ISA
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
