#!/bin/sh
# Weights of other programs become a model file, which tells where it comes from, and go back. usage: test_import_export.sh BUILD SOURCE
set -u
vistill=$1/vistill
files=$2/tests/unit/import # made by make_tiny.py there
tiny='--model vit_mini_patch4_28 --set image=8 --set dim=8 --set depth=1 --set heads=2'
cd "$(mktemp -d)" || exit 1
trap 'rm -rf "$PWD"' EXIT
failed=0

# expect CODE STREAM TEXT ARGUMENT…: exit code, and TEXT on that stream
expect() {
    code=$1 stream=$2 text=$3
    shift 3
    "$vistill" "$@" >out 2>err
    got=$?
    if [ $got != "$code" ] || ! grep -qF -- "$text" $stream; then
        echo "FAILED: vistill $*: exit code $got, expected $code and \"$text\" on standard $stream"
        cat out err
        failed=1
    fi
}
same() { cmp "$1" "$2" || { echo "FAILED: $1 and $2 should be the same"; failed=1; }; }
has() { grep -qF -- "$1" out || { echo "FAILED: no \"$1\" in"; cat out; failed=1; }; }

# From a checkpoint, with its average; from safetensors; the other entry is another model.
printf 'cat\r\nsea lion\n' >names
expect 0 out 'format      PyTorch, entry "model_ema"' import "$files/tiny.pth" $tiny --set model.classes=2 --classes names -o a.safetensors
has 'skipped     argparse.Namespace'
has 'tensors     20 taken, 0 of them renamed, 0 resized'
expect 0 out 'tensors     20 taken' import "$files/tiny.safetensors" $tiny --set classes=2 -o b.safetensors
expect 0 out 'entry "model"' import "$files/tiny.pth" $tiny --set classes=2 --entry model -o other.safetensors
expect 0 out 'options     classes=2, found from the tensors' import "$files/tiny.pth" $tiny -o auto.safetensors
for name in a b other auto; do expect 0 out 'written     ' export $name.safetensors -o $name.out.safetensors; done
has 'timm has no model vit_mini_patch4_28'
same a.out.safetensors b.out.safetensors
same a.out.safetensors auto.out.safetensors
cmp -s a.out.safetensors other.out.safetensors && { echo "FAILED: --entry makes no difference"; failed=1; }

# What was exported comes back, and so does a model file of ours, with all its options and names.
expect 0 out 'tensors     20 taken' import a.out.safetensors $tiny --set classes=2 -o c.safetensors
expect 0 out 'written' export c.safetensors -f safetensors -o c.bin
same a.out.safetensors c.bin
expect 0 out 'vit_mini_patch4_28' import a.safetensors -o d.safetensors
expect 0 out 'written' export d.safetensors -o d.out.safetensors
same a.out.safetensors d.out.safetensors
expect 0 out '2: cat, sea lion' info d.safetensors
has '"entry":"model_ema"'
expect 0 out 'resized     pos_embed (1, 5, 8) -> (1, 17, 8)' import a.safetensors --set image=16 -o large.safetensors
expect 0 out 'fresh       head.bias' import a.safetensors --set classes=3 --reset-head -o fresh.safetensors
expect 0 out '3: 0, 1, 2' info fresh.safetensors

# info
expect 0 out '1 × 8 × 8' info a.safetensors
has 'imported=tiny.pth, format=PyTorch, entry=model_ema, preprocessing=unnamed, xxh3='
has 'patch=4, dim=8, depth=1, heads=2'
has 'shorter side to 8, bicubic'
grep -qE '^blocks.0 +600 +2\.96e-06  \(1, 5, 8\)$' out || { echo "FAILED: parts"; cat out; failed=1; }
grep -qE '^all +818 ' out || { echo "FAILED: sum of the parts"; cat out; failed=1; }
expect 0 out 'blocks.0.attn.qkv.weight   (24, 8)          192' info a.safetensors --tensors
expect 0 out 'MB of memory besides the parameters' info a.safetensors --plan --batch 3
grep -qE '^all .* 100\.0$' out || { echo "FAILED: shares of the plan's time"; cat out; failed=1; }
"$vistill" info "$2/recipes/conf/fashion-teacher.safetensors" --plan | sed '1,/^$/d' >out
[ "$(wc -L <out)" -le 80 ] || { echo "FAILED: a plan of more than 80 columns"; cat out; failed=1; }
expect 0 out '"gmac":3.488e-6' info a.safetensors --json --plan --tensors
has '"xxh3":"'
has '"implementation":"'
has '"name":"blocks.0.attn.qkv.weight","shape":[24,8]'
expect 0 out 'blocks.0.attn.qkv.weight   F16   (24, 8)          192' info "$files/tiny.pth"
has 'not a model file: `vistill import'
has 'the nearest is vit_mini_patch4_28'
expect 0 out '"type":"F16"' info "$files/tiny.pth" --json
expect 1 err 'so there is nothing to run' info "$files/tiny.pth" --plan

# What goes wrong, and that nothing is written then.
expect 2 err '-o FILE is missing, the model file to write' import "$files/tiny.pth"
expect 2 err '-o FILE is missing' export a.safetensors
expect 1 err 'cannot be opened' import none.pth -o no.safetensors
expect 1 err 'no/file.safetensors cannot be written' import "$files/tiny.pth" --model vit_mimi -o no/file.safetensors
expect 1 err 'no/file.safetensors cannot be written' export a.safetensors -o no/file.safetensors
expect 1 err 'there is no model "vit_mimi"; near it: vit_mini_patch4_28' import "$files/tiny.pth" --model vit_mimi -o no.safetensors
expect 1 err 'fits no model exactly; nearest are vit_mini_patch4_28' import "$files/tiny.pth" -o no.safetensors
expect 1 err 'it has "model", "model_ema", "epoch", "args"' import "$files/tiny.pth" --entry ema $tiny -o no.safetensors
expect 1 err 'unknown key "clases"; did you mean "classes"?' import "$files/tiny.pth" $tiny --set clases=2 -o no.safetensors
expect 1 err '--set classes: expected KEY=VALUE' import "$files/tiny.pth" $tiny --set classes -o no.safetensors
expect 1 err '2 classes, the model'"'"'s 10: take it over with --set classes=2, or' import "$files/tiny.pth" $tiny --set classes=10 -o no.safetensors
grep -qE '^wrong shape +head.weight +\(2, 8\) +\(10, 8\) +F16$' err || { echo "FAILED: table of misfits"; cat err; failed=1; }
expect 1 err 'and 16 more: missing' import "$files/tiny.pth" --model vit_mini_patch4_28 -o no.safetensors
expect 1 err 'names has 2 names, the model 3 classes' import a.safetensors --set classes=3 --reset-head --classes names -o no.safetensors
expect 1 err 'names has more than 1 names' import a.safetensors --set classes=1 --reset-head --classes names -o no.safetensors
printf 'cat\n\ndog\n' >empty
expect 1 err 'empty:2: the line is empty' import a.safetensors --classes empty -o no.safetensors
expect 1 err 'not a Vistill model file; weights of other programs become one with `vistill import`' export b.out.safetensors -o no.safetensors
expect 1 err 'its ending names no export format (safetensors)' export a.safetensors -o no.onnx
expect 1 err 'no export format "gguf"; there are: safetensors' export a.safetensors -o no.safetensors -f gguf
[ ! -e no.safetensors ] || { echo "FAILED: a file was written after an error"; failed=1; }
[ $failed = 0 ] && echo "weights come in, are described, and go out again"
exit $failed
