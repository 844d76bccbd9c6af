#!/bin/sh
# `vistill bench` alone and beside peers that answer, lack the model, break, or are not there. usage: test_bench.sh BUILD SOURCE
set -u
vistill=$1/vistill
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# expect CODE TEXT ARGUMENT…: exit code, and TEXT somewhere in what it writes
expect() {
    code=$1 text=$2
    shift 2
    "$vistill" bench "$@" >"$folder/out" 2>&1
    got=$?
    if [ $got != "$code" ] || ! grep -qE -- "$text" "$folder/out"; then
        echo "FAILED: vistill bench $*: exit code $got, expected $code and \"$text\""
        cat "$folder/out"
        failed=1
    fi
}

# peer NAME: makes an interpreter of that name from standard input. It is called as PEER -c SCRIPT CASE.
peer() {
    { echo '#!/bin/sh'; cat; } >"$folder/$1"
    chmod +x "$folder/$1"
}
peer answers <<'END'
echo "$3" | grep -q '"kind":"train".*"family":"resnet_cifar".*"batch":4,"threads":1' || { echo "error a wrong case: $3"; exit 1; }
echo "ready 0 0.5"
while read -r steps; do echo "$((steps * 1000))"; done
END
peer lacks <<'END'
echo "unsupported no such family"
END
peer breaks <<'END'
echo "ready 0 0.5"
read -r steps
END
peer mutters <<'END'
echo "Hello"
END

small="-b 4 -t 1 --rounds 1 -s depth=8 -s width=4 resnet20_cifar"
expect 0 'resnet20_cifar +4 +[0-9.]+ +[0-9.]+ +[0-9]+ +[0-9.]+ +[0-9]+$' $small
expect 0 'Inference' --infer $small
expect 0 'conv2d_backward_weights +backward' --profile $small
# Ours needs less than the 1000 s a step that this peer claims.
expect 0 ' [0-9]{4,}\.[0-9]+ \([0-9.]+-[0-9.]+\)$' --peer "$folder/answers" $small
expect 0 ' - +- +-$' --peer "$folder/lacks" $small
expect 1 'breaks ended without an answer' --peer "$folder/breaks" $small
expect 1 'mutters says "Hello" instead of being ready' --peer "$folder/mutters" $small
expect 1 'none: it cannot be run: No such file' --peer "$folder/none" $small
# Integers: ours alone, beside one runtime, beside both; each side has two processes.
peer halves <<'END'
case $3 in *'"runtime":"pytorch"'*) echo "error a wrong case: $3"; exit 1 ;; esac
echo "ready 0 1000"
while read -r steps; do case $3 in *'"integers":true'*) echo 1000 ;; *) echo 2000 ;; esac; done
END
expect 0 '^Vistill +[0-9.]+ +[0-9.]+ +[0-9.]+$' --infer --int8 $small
expect 0 '^OpenVINO +0\.0 +0\.0 +2\.00 +[0-9.]+ \([0-9.-]+\) +[0-9.]+ \([0-9.-]+\)$' --infer --int8 --peer "$folder/halves" --runtime openvino $small
expect 0 '^ONNX Runtime +0\.0 +0\.0 +2\.00 ' --infer --int8 --peer "$folder/halves" $small
expect 0 '^OpenVINO +- +- +- +- +-$' --infer --int8 --peer "$folder/lacks" $small
expect 1 'onnxruntime and openvino have integers' --infer --int8 --runtime pytorch $small
expect 1 '--int8 is about inference' --int8 $small
expect 1 'one in a run, or several with --int8' --infer --runtime openvino --runtime pytorch $small
# Loading: one image file as a data set, beside a peer that takes 1000 s an image.
mkdir "$folder/images"
cp "$2/tests/fuzz/corpus/fuzz_png/rgb" "$folder/images/a.png"
cp "$2/tests/fuzz/corpus/fuzz_png/rows-missing" "$folder/images/broken.png"
peer loads <<'END'
echo "$3" | grep -q '"decoded": *[a-z]*, *"size": *224, *"file": *".*", *"lengths": *\[[0-9]*\]' || { echo "error a wrong case: $3"; exit 1; }
echo "ready 0 1000"
while read -r images; do echo "$((images * 1000))"; done
END
expect 0 '^evaluate, files +[0-9]+$' -t 1 --rounds 1 loader "$folder/images"
expect 0 '^train as DeiT, files +[0-9]+ +[0-9]+ +[0-9.]+ +0 +[0-9]{5,}\.[0-9]+ ' -t 2 --rounds 1 --peer "$folder/loads" loader "$folder/images"
expect 0 '^train as DeiT, decoded images +[0-9]+ +0 +[0-9]{5,}\.[0-9]+ ' -t 1 --rounds 1 --peer "$folder/loads" loader "$folder/images"
expect 1 'breaks ended without an answer' --rounds 1 --peer "$folder/breaks" loader "$folder/images"
expect 1 '--infer cannot be used with' --infer loader "$folder/images"
expect 1 'give one data set' loader
expect 1 'nosuch' loader "$folder/nosuch"
expect 1 'unknown key "dept"|unknown .*"dept"' -s dept=8 resnet20_cifar
expect 1 'expected KEY=VALUE' -s depth resnet20_cifar
expect 1 'there is no model "resnet9"' resnet9
[ $failed = 0 ] && echo "the benchmark measures"
exit $failed
