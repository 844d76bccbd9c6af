#!/bin/sh
# vistill data: usage: test_data.sh BUILD SOURCE. Packs, indexes, checks and previews small data sets, and reads tars that the
# system's tar made.
set -eu
. "$2/tests/unit/commands.sh"

idx idx 20 10 4 5
expect 0 "train: 20 samples, 0 broken, all of 5 x 4 pixels" "$vistill" data check idx
expect 0 "test: 10 samples in 1 shard" "$vistill" data pack idx -o shards
[ "$(ls shards)" = "$(printf 'classes.txt\ntest-000000.tar\ntest-000000.tar.idx\ntrain-000000.tar\ntrain-000000.tar.idx')" ] ||
    fail "shards: $(ls shards)"
expect 1 "is there already" "$vistill" data pack idx -o shards
expect 0 "test: 10 samples, 0 broken" "$vistill" data check shards
cp -r shards again && rm again/*.idx
expect 0 "30 images in 2 shards" "$vistill" data index again
cmp again/train-000000.tar.idx shards/train-000000.tar.idx
"$vistill" data pack idx -o twice > /dev/null
cmp twice/train-000000.tar shards/train-000000.tar
"$vistill" data pack idx -o mixed --shuffle 5 --split train > /dev/null
cmp -s mixed/train-000000.tar shards/train-000000.tar && fail "--shuffle changes nothing"
[ ! -e mixed/test-000000.tar ] || fail "--split train packs the test split"
expect 0 "train: 20 samples in 1 shard, 0.1 MB, 20 made smaller" "$vistill" data pack idx -o small --resize 2 --quality 80
expect 0 "train: 20 samples, 0 broken, all of 2 x 2 pixels" "$vistill" data check small
"$vistill" data pack idx -o same --resize 4 > out # they have four rows
grep -q "20 samples in 1 shard, 0.1 MB, 0 made smaller" out || fail "--resize 4: $(cat out)"
cmp same/train-000000.tar shards/train-000000.tar
expect 2 "--quality without --resize" "$vistill" data pack idx -o none --quality 80
expect 1 "--quality" "$vistill" data pack idx -o none --resize 4 --quality 101
expect 1 "--resize" "$vistill" data pack idx -o none --resize 0
[ ! -e none ] || fail "a refused pack makes its folder"

# The shards unpacked into class folders, and these as the system's tar writes them.
mkdir x
tar -C x -xf shards/train-000000.tar
[ "$(cat x/000000004.cls)" = 1 ] || fail "label of sample 4"
for i in $(seq 0 19); do
    k=$(printf %09d "$i")
    class=$(cat "x/$k.cls")
    mkdir -p "set/train/a-class-with-a-long-name-for-the-tar-header-$class/$(printf '%080d' 0)"
    cp "x/$k.png" "set/train/a-class-with-a-long-name-for-the-tar-header-$class/$(printf '%080d' 0)/$k.png"
done
"$vistill" data check set --json > folder.json
for format in gnu pax ustar; do
    tar --format=$format -cf $format.tar set
    "$vistill" data check $format.tar --json > $format.json
    [ "$(sed 's/"path":"[^"]*",//' $format.json)" = "$(sed 's/"path":"[^"]*",//' folder.json)" ] ||
        fail "$format: $(cat $format.json), the folder: $(cat folder.json)"
done

# What is broken is listed, and tells in the exit code.
bad="set/train/a-class-with-a-long-name-for-the-tar-header-2/zz.jpg"
echo "no picture" > "$bad"
expect 1 "train: 21 samples, 1 broken" "$vistill" data check set --workers 2
grep -q "^broken .*zz.jpg: " out || fail "the broken file is not listed: $(cat out)"
expect 1 '"broken":1' "$vistill" data check set --json
expect 1 "zz.jpg is neither JPEG nor PNG" "$vistill" data pack set -o bad
[ -z "$(ls bad)" ] || fail "a failed pack leaves $(ls bad)"
rm "$bad"

mkdir empty
expect 0 "sheet.png: 824 x 580 pixels" "$vistill" data preview set --augment "flip" --count 30 --seed 3 -o sheet.png
[ "$(head -c 4 sheet.png | tail -c 3)" = PNG ] || fail "the preview is no PNG"
expect 1 "there is no augmentation" "$vistill" data preview set --augment spin
expect 2 "none of index, check, preview, pack" "$vistill" data look set
expect 2 "pack needs --output" "$vistill" data pack set
expect 1 "no known data set format" "$vistill" data check empty
expect 1 "cannot read the data set" "$vistill" data check nowhere
expect 1 "no tar file" "$vistill" data index set
expect 1 "wrong checksum" sh -c "head -c 2000 /dev/zero | tr '\0' x > z.tar && $vistill data index z.tar"

# Training, evaluating and classifying with folders, tars and shards. A data set of 40 and 12 pictures of 8 x 8, of which class
# folders are made: the shards' PNG files.
mkdir learn
cd learn
mkdir idx
for part in "train 40" "t10k 12"; do
    set -- $part
    printf "\\0\\0\\10\\1\\0\\0\\0\\$(printf %o "$2")" > "idx/$1-labels-idx1-ubyte"
    printf "\\0\\0\\10\\3\\0\\0\\0\\$(printf %o "$2")\\0\\0\\0\\10\\0\\0\\0\\10" > "idx/$1-images-idx3-ubyte"
    for i in $(seq 1 "$2"); do
        printf "\\$((i % 2))" >> "idx/$1-labels-idx1-ubyte"
        printf "%064d" "$i" | tr 0 "$(printf 'Bz' | cut -c $((i % 2 + 1)))" >> "idx/$1-images-idx3-ubyte"
    done
done
"$vistill" data pack idx -o shards > /dev/null
for split in train test; do
    mkdir x
    tar -C x -xf shards/$split-000000.tar
    for key in x/*.cls; do
        class=$(cat "$key")
        mkdir -p set/$split/c"$class"
        mv "${key%.cls}.png" set/$split/c"$class"/
    done
    rm -r x
done
tar -cf set.tar set
cat > r.yaml << END
model: {name: resnet8_cifar, image: 8, channels: 1, classes: 2}
data: {path: idx}
optim: {name: sgd, batch: 10, lr: 0.05, warmup_epochs: 0}
run: {epochs: 2, output: idx-run, eval_batch: 12, threads: 1}
END
# The same images in another order are trained on in another order: compared are the layouts that keep it.
for data in idx shards set set.tar; do
    "$vistill" train r.yaml --set data.path=$data --set run.output=$data-run > $data.out 2>&1 || fail "train $data: $(cat $data.out)"
done
figures() { "$vistill" eval "$1-run/best.safetensors" idx --json | sed 's/,"ms_per_image.*//'; }
[ "$(figures idx)" = "$(figures shards)" ] || fail "shards give another model than IDX"
[ "$(figures set)" = "$(figures set.tar)" ] || fail "a tar gives another model than its folder"
[ "$(figures set)" != "$(figures idx)" ] || fail "the comparison says nothing"
expect 0 '"samples":12' "$vistill" eval set-run/best.safetensors set.tar --json
expect 0 "c1" "$vistill" classify set-run/best.safetensors set.tar:0 set:11
# bf16: an answer, or what is missing
"$vistill" classify set-run/best.safetensors set:11 --precision bf16 > out 2>&1 || grep -q 'bf16 needs a processor' out || fail "$(cat out)"
expect 1 'bf16 needs a processor with AVX-512' env ONEDNN_MAX_CPU_ISA=AVX2 "$vistill" classify set-run/best.safetensors set:11 --precision bf16
expect 1 'it must be f32 or bf16' "$vistill" eval set-run/best.safetensors set --precision half

# What a training sees: the same numbers each time, mixed by lambda, and of another epoch others.
expect 0 "two.st: 2 batches of epoch 1, 10 images each" "$vistill" data dump r.yaml -o two.st --batches 2 --set augment.mixup=0.8
expect 0 "again.st: 2 batches" "$vistill" data dump r.yaml -o again.st --batches 2 --set augment.mixup=0.8 --set data.workers=3
cmp -s two.st again.st || fail "a dump differs from itself"
expect 0 "4 batches of epoch 2" "$vistill" data dump r.yaml -o other.st --epoch 2 --batches 99 --set augment.mixup=0.8
cmp -s two.st other.st && fail "another epoch is the same"
expect 2 "dump needs --output" "$vistill" data dump r.yaml

# Broken images: an error by default, or replaced and counted.
echo no > set/train/c0/000000099.png
echo no > set/test/c1/000000099.png
expect 1 "c0/000000099.png" "$vistill" train r.yaml --set data.path=set --set run.output=b1
expect 1 "1 of 41 samples cannot be read, the limit is 1 %" "$vistill" train r.yaml --set data.path=set --set run.output=b2 \
    --set data.broken=skip
expect 0 "1 of 41 training images could not be read" "$vistill" train r.yaml --set data.path=set --set run.output=b3 \
    --set data.broken=warn --set data.broken_limit=0.1 --set data.workers=3
[ "$(grep -c 'broken sample' out)" = 2 ] || fail "each broken image is not told once: $(cat out)"
expect 1 "the limit is 1 %" "$vistill" eval set-run/best.safetensors set --broken skip
expect 1 "it must be error, warn or skip" "$vistill" eval set-run/best.safetensors set --broken maybe

# Images without labels need a teacher, and labelled ones to test on.
mkdir loose
cp set/train/c?/00000000?.png loose/
expect 1 "has no labels" "$vistill" train r.yaml --set data.path=loose --set run.output=d0
expect 1 "nothing to learn without a teacher" "$vistill" train r.yaml --set data.path=loose --set data.test=idx --set run.output=d0
expect 1 "would be tested" "$vistill" train r.yaml --set data.path=set/train --set run.output=d0
cat >> r.yaml << END
distill: {teacher: idx-run/best.safetensors, terms: [{distance: kl, student: logits, teacher: logits}]}
END
expect 0 "test top-1" "$vistill" train r.yaml --set data.path=loose --set data.test=idx --set optim.batch=4 --set run.output=d1
expect 1 "none of it can be held out" "$vistill" train r.yaml --set data.path=loose --set data.test=idx --set data.validation=3 --set run.output=d0
