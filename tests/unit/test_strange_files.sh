#!/bin/sh
# Paths that name something else than expected: devices, pipes and links as output, pipes as input, truncated pictures, what
# killed processes left. usage: test_strange_files.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"
import="$vistill import $2/tests/unit/import/tiny.pth --model vit_mini_patch4_28 --set image=8 --set dim=8 --set depth=1 --set heads=2"
import="$import --set classes=2"
expect 0 'written' $import -o model.safetensors
idx idx 20 10 8 8
cat > tiny.yaml <<'YAML'
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
data: {path: idx, workers: 0}
optim: {batch: 10, warmup_epochs: 0}
run: {epochs: 1, threads: 1, output: run}
YAML

# Killed runs leave temporary files, each perhaps as large as a checkpoint; the next one removes them.
mkdir run
touch run/last.safetensors.tmp.99 run/best.safetensors.tmp.1.2 run/notes.tmp.99
expect 0 'test top-1' "$vistill" train tiny.yaml
[ "$(ls run)" = "$(ls run | grep -v 'safetensors.tmp')" ] || fail "temporary files stay: $(ls run)"
[ -e run/notes.tmp.99 ] || fail "another's file was removed"

# Output: a device (our own; who may not make one cannot replace /dev/null either) and a pipe stay what they are.
mknod null c 1 3 2> /dev/null || ln -s /dev/null null
ln -s null link
mkfifo pipe
for to in null link pipe; do
    ls -l $to > before
    for command in "$import" "$vistill export model.safetensors -f safetensors" "$vistill report run" "$vistill data preview idx"; do
        expect 1 'cannot be replaced: not a regular file, but' timeout 60 $command -o $to
    done
    ls -l $to | cmp - before || fail "$to was replaced"
done
expect 1 'cannot be replaced: not a regular file, but a folder' "$vistill" export model.safetensors -f safetensors -o .
mkdir elsewhere
ln -s elsewhere/target.safetensors out.safetensors
export="$vistill export model.safetensors -f safetensors"
expect 0 'written' $export -o plain.safetensors
expect 0 'written' $export -o out.safetensors
[ -L out.safetensors ] && cmp plain.safetensors elsewhere/target.safetensors || fail "the link was not followed"
[ "$(ls elsewhere)" = target.safetensors ] || fail "left: $(ls elsewhere)"

# Input: a pipe is refused at once, wherever a file is read.
refused='not a regular file, but a pipe'
expect 1 "pipe: $refused" timeout 60 "$vistill" classify model.safetensors pipe
expect 1 "pipe: $refused" timeout 60 "$vistill" classify pipe out.safetensors
expect 1 "pipe: $refused" timeout 60 $import --classes pipe -o none.safetensors
expect 1 "pipe: $refused" timeout 60 "$vistill" import pipe -o none.safetensors
expect 1 "pipe: $refused" timeout 60 "$vistill" train pipe
expect 1 "pipe: $refused" timeout 60 "$vistill" study pipe
echo 'base: pipe' > based.yaml
expect 1 "pipe: $refused" timeout 60 "$vistill" explain based.yaml
expect 1 "pipe: $refused" timeout 60 "$vistill" train tiny.yaml --force --set run.start=pipe
for name in train-images-idx3-ubyte t10k-labels-idx1-ubyte; do
    cp -r idx piped
    rm piped/$name
    mkfifo piped/$name
    expect 1 "piped/$name: $refused" timeout 60 "$vistill" data check piped
    rm -r piped
done
for name in summary.csv recipe.yaml best.safetensors; do
    cp -r run piped
    rm piped/$name
    mkfifo piped/$name
    expect $([ $name = summary.csv ] && echo 1 || echo 0) "piped/$name: $refused" timeout 60 "$vistill" report piped
    rm -r piped
done
mkdir pictures
mkfifo pictures/a.png pictures.tar
expect 1 "a.png: $refused" timeout 60 "$vistill" data check pictures
expect 1 "pictures.tar: $refused" timeout 60 "$vistill" data check pictures.tar

# A truncated picture is an error for classify as it is for eval, and named.
whole=$2/tests/unit/pixels/noise.jpg
cp "$whole" whole.jpg
head -c $(($(wc -c < whole.jpg) - 40)) whole.jpg > cut.jpg
expect 0 whole.jpg "$vistill" classify model.safetensors whole.jpg
expect 1 'cut.jpg: ' "$vistill" classify model.safetensors cut.jpg
mkdir -p set/train/a set/train/b set/test/a set/test/b
cp whole.jpg set/test/a && cp whole.jpg set/test/b && cp whole.jpg set/train/a && cp whole.jpg set/train/b
expect 0 'top-1' "$vistill" eval model.safetensors set
cp cut.jpg set/test/b
expect 1 'cut.jpg: ' "$vistill" eval model.safetensors set
expect 1 'b/cut.jpg: ' "$vistill" classify model.safetensors set:1
echo "strange files do no harm"
