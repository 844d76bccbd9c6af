#!/bin/sh
# No command lets a path or name steer the terminal: folders and files whose names hold escape sequences and a right-to-left
# override, and a class with one (with control characters it is refused). usage: test_escapes.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

escape=$(printf '\033')
bidi=$(printf '\342\200\256')
evil=$(printf 'e\033]0;x\007v\302\233\342\200\256l')
clean() { # CODE TEXT COMMAND…: the exit code, a text, and nothing that a terminal obeys
    expect "$@"
    ! grep -q "$escape\|$bidi" out || fail "$*: an escape sequence in: $(cat -v out)"
    ! grep -q "$(printf '\302\233')" out || fail "$*: C1 in: $(cat -v out)"
}
mkdir "$evil"
cd "$evil"
here=$work/$evil
idx data 60 24 16 16
for class in "a$bidi" b; do
    mkdir -p "photos/train/$class" "photos/val/$class"
    "$vistill" data preview data --count 1 -o "photos/train/$class/1.png" > /dev/null
    for copy in train/$class/2 train/$class/3 val/$class/4; do cp "photos/train/$class/1.png" "photos/$copy.png"; done
done
cat > "$evil.yaml" <<'END'
data: {path: data}
model: {name: resnet8_cifar, width: 4, image: 16, channels: 1, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12}
END
sed 's/^run: {/&output: taught, /' "$evil.yaml" > taught.yaml
echo 'distill: {terms: [{distance: kl}]}' >> taught.yaml
teacher="-s distill.teacher=$evil.safetensors"
clean 0 "test top-1" "$vistill" train "$evil.yaml" -s "run.output=$here/run$evil"
cp "run$evil/best.safetensors" "$evil.safetensors"
clean 0 "test top-1" "$vistill" train taught.yaml -s "distill.teacher=$evil.safetensors" -s "run.output=taught$evil"
clean 0 "memory" "$vistill" train taught.yaml --dry-run -s "distill.teacher=$here/$evil.safetensors"
clean 1 "cannot be opened" "$vistill" train "no$evil.yaml"
clean 1 "already holds a run" "$vistill" train "$evil.yaml" -s "run.output=run$evil"
clean 1 "cannot be opened" "$vistill" train "$evil.yaml" -s "run.start=$evil" -s run.output=other
cp "$evil.yaml" plain.yaml
printf 'output: "all\\e]0;x\\a\\u202e"\nruns:\n  - {name: one, recipe: plain.yaml}\n' > "study$evil.yaml"
clean 0 "report:" "$vistill" study "study$evil.yaml"
clean 0 "report:" "$vistill" report "run$evil" "taught$evil" -o "page$evil.html"
clean 0 "written" "$vistill" export "$evil.safetensors" -f safetensors -o "out$evil.safetensors"
clean 0 "written" "$vistill" import "out$evil.safetensors" --model resnet8_cifar -s width=4 -s channels=1 -s classes=3 -s image=16 -o "in$evil.safetensors"
clean 1 "does not fit" "$vistill" import "out$evil.safetensors" --model resnet18 -o "in$evil.safetensors"
clean 0 "resnet8_cifar" "$vistill" info "in$evil.safetensors"
clean 0 "format" "$vistill" info "out$evil.safetensors"
clean 0 "top-1" "$vistill" eval "$evil.safetensors" data
clean 1 "cannot read the data set" "$vistill" eval "$evil.safetensors" "data$evil"
clean 0 "written" "$vistill" quantize "$evil.safetensors" data --all --images 12 --held-out 12 -o "int8$evil.safetensors"
clean 0 "1.png" "$vistill" classify "$evil.safetensors" "photos/train/a$bidi/1.png"
clean 0 "1.png" "$vistill" classify "$evil.safetensors" "photos/train/a$bidi"
clean 0 "complete" "$vistill" cache build taught.yaml -s "distill.teacher=$evil.safetensors" -s "distill.cache=cache$evil"
clean 0 "checksums fit" "$vistill" cache check taught.yaml -s "distill.teacher=$evil.safetensors" -s "distill.cache=cache$evil"
clean 1 "cannot be opened" "$vistill" cache import taught.yaml "no$evil" -s distill.teacher=cache -s "distill.cache=imported$evil"
clean 0 "samples" "$vistill" data check photos
mkdir -p "bad/c$evil"
cp photos/train/b/1.png "bad/c$evil"
clean 1 "holds control characters" "$vistill" data check bad
printf 'x' > "photos/train/b/bad$evil.png"
clean 1 "broken" "$vistill" data check photos
rm photos/train/b/bad*
clean 0 "pixels" "$vistill" data preview photos -o "sheet$evil.png"
clean 0 "samples" "$vistill" data pack photos -o "shards$evil"
clean 0 "batch" "$vistill" data dump "$evil.yaml" -o "dump$evil.safetensors"
clean 0 "run.output" "$vistill" explain "$evil.yaml" -s "run.output=run$evil"
clean 0 "output:" "$vistill" explain --yaml "$evil.yaml" -s "run.output=run$evil"
clean 1 "" "$vistill" bench "$evil.safetensors" --infer --rounds 1 -b 1
clean 0 "" "$vistill" bench loader photos --rounds 1 -t 1
clean 0 "" "$vistill" doctor
clean 2 "" "$vistill" "com$evil"
clean 2 "" "$vistill" train "--fl$evil" x
