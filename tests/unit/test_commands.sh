#!/bin/sh
# The program's manners: exit codes, where it writes, help of every command. usage: test_commands.sh BUILD SOURCE
set -u
vistill=$1/vistill
cd "$2"
out=$(mktemp)
err=$(mktemp)
trap 'rm -f "$out" "$err"' EXIT
failed=0

# expect CODE STREAM TEXT ARGUMENT…: exit code, and TEXT on that stream
expect() {
    code=$1 stream=$2 text=$3
    shift 3
    "$vistill" "$@" >"$out" 2>"$err"
    got=$?
    [ "$stream" = out ] && file=$out || file=$err
    if [ $got != "$code" ] || ! grep -qF -- "$text" "$file"; then
        echo "FAILED: vistill $*: exit code $got, expected $code and \"$text\" on standard $stream"
        cat "$out" "$err"
        failed=1
    fi
}

[ -x "$vistill" ] || { echo "FAILED: $vistill is not there"; exit 1; }
expect 0 out 'Usage: vistill COMMAND' help
expect 0 out 'Usage: vistill COMMAND' --help
expect 2 out 'Usage: vistill COMMAND'
expect 0 out 'vistill 0.' --version
expect 2 err 'unknown command "modles"; did you mean "models"?' modles
expect 2 err 'unknown command "zzz"' help zzz
expect 2 err 'unknown option "--frob"; known are --help, --json' models --frob
expect 2 err '--json takes no value' models --json=1
expect 2 err '"b" is too much' models a b
expect 1 err 'no model matches "zzz"' models zzz
expect 0 out ' 86.57 M   17.56  3 × 224 × 224' models
expect 0 out '"gmac":4.0' models --json resnet50
expect 0 out '"name":"resnet20_cifar"' models --json resnet20
expect 0 out 'optim.lr ' explain
expect 2 err '--set and --yaml need a recipe' explain --yaml
expect 2 err '--set needs a value: --set KEY=VALUE' explain --set
for recipe in recipes/conf/*-data.yaml recipes/conf/*-teacher.yaml; do
    case $recipe in
    *-data.yaml)
        expect 0 out 'data.workers ' explain "$recipe"
        expect 0 err 'model.name is missing, so this is a base for other recipes' explain "$recipe"
        expect 0 out 'workers: 3' explain "$recipe" --set data.workers=3 --yaml
        ;;
    *) expect 0 out 'model.name ' explain "$recipe" ;;
    esac
done
expect 0 out 'lr: 0.25' explain recipes/conf/fashion-student.yaml --set optim.lr=0.25 --yaml
expect 1 err 'unknown key "lrr" in optim; did you mean "lr"?' explain recipes/conf/fashion-student.yaml --set=optim.lrr=1
expect 1 err 'this is a study, not a recipe' explain recipes/conf/fashion.yaml
expect 1 err 'none.yaml: cannot be opened' explain -- none.yaml
expect 1 err 'expected at most 32 whole numbers' study recipes/conf/fashion.yaml --seeds 0,x
expect 1 err 'expected at most 32 whole numbers' study recipes/conf/fashion.yaml --seeds=
expect 1 err '1 is given twice' study recipes/conf/fashion.yaml --seeds 1,0,1
expect 1 err 'missing after the last comma' study recipes/conf/fashion.yaml --seeds 1,
expect 2 err 'RUN' report
expect 1 err 'none: there is no such run folder' report none
expect 1 err 'tests is no run folder: it holds neither recipe.yaml' report tests
for command in $("$vistill" help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    [ "$command" = help ] || expect 0 out "Usage: vistill $command" "$command" --help
    [ "$command" = help ] || expect 0 out "Usage: vistill $command" help "$command"
    [ "$(LC_ALL=C.UTF-8 wc -L <"$out")" -le 80 ] || { echo "FAILED: help of more than 80 columns"; cat "$out"; failed=1; }
done
"$vistill" doctor >"$out" 2>"$err"
[ $? -le 1 ] && grep -q 'oneDNN' "$out" || { echo "FAILED: doctor"; failed=1; }
"$vistill" help >/dev/full 2>"$err"
[ $? = 1 ] || { echo "FAILED: a full disk behind standard output goes unnoticed"; failed=1; }
[ $failed = 0 ] && echo "the program has manners"
exit $failed
