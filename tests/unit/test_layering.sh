#!/bin/sh
# Includes go one way: vision <- {backbones, datasets} <- recipes, backbones and datasets know nothing of each other,
# oneDNN's, libpng's and libjpeg's headers stay in their one folder or file, loops over elements in vision/kernels, and no
# files depend on each other in a circle. usage: test_layering.sh BUILD SOURCE
set -eu
build=$(cd "$1" && pwd)
cd "$2"
failed=0

# forbid FOLDERS PATTERN REASON: no file of FOLDERS includes what matches PATTERN
forbid() {
    if grep -rnE --include='*.[ch]' "^ *# *include *[<\"]($2)" $1; then
        echo "FAILED: $3"
        failed=1
    fi
}
forbid vision '(backbones|datasets|recipes)/' "vision/ must not know models, data sets or recipes"
forbid backbones '(datasets|recipes)/' "backbones/ must not know data sets or recipes"
forbid datasets '(backbones|recipes)/' "datasets/ must not know models or recipes"
forbid vision/base 'vision/(image|tensor|graph|ops|kernels|onednn|plan|optim)/' "vision/base/ stands below the rest"
forbid vision/kernels 'vision/(graph|ops|onednn|plan|optim|tensor)/' "vision/kernels/ are loops over arrays"

# only_in PATTERN HEADER: no file whose name does not match PATTERN includes HEADER
only_in() {
    if grep -rnE --include='*.[ch]' "^ *# *include *[<\"]$2" vision backbones datasets recipes | grep -vE "^$1"; then
        echo "FAILED: $2 outside $1"
        failed=1
    fi
}
forbid 'vision backbones datasets recipes' 'vistill(_plugin)?\.h[>"]' "vistill.h and vistill_plugin.h are for users: include the rooms' own headers"
only_in 'vision/onednn/' '(oneapi/dnnl/)?dnnl'
only_in 'vision/image/png\.c' 'png\.h'
only_in 'vision/image/jpeg\.c' '(jpeglib|jerror|turbojpeg)\.h'
only_in 'recipes/config/yaml\.[ch]' 'yaml\.h'

# Loops over elements are kernels, compiled for every instruction set: an operation has no floats in its hands to loop over.
if grep -nE 'float \*(const )?[a-z_]+|# *pragma +omp|\bmem(cpy|move|set)\([^&]' vision/ops/*.c; then
    echo "FAILED: vision/ops/ must leave loops over elements to vision/kernels/"
    failed=1
fi

# No circle of files. A source and its header are one; A depends on B if it includes B's header or uses a symbol that B alone
# defines. What the build generates (registries) is left out.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
objects() {
    for set in vistill_objects vistill_program vistill_kernels_dispatch vistill_kernels_generic; do
        (cd "$build/CMakeFiles/$set.dir" && find vision backbones datasets recipes -name '*.c.o' 2>/dev/null |
            while read -r object; do [ -f "$OLDPWD/${object%.o}" ] && nm -gPA "$object"; done) || true
    done
}
objects | awk '
    { file = $1; sub(/\.c\.o:$/, "", file) }
    $3 == "U" { uses[file " " $2]; next }
    $3 ~ /^[TDRBV]$/ { definitions[$2]++; owner[$2] = file }
    END {
        for (use in uses) {
            split(use, part, " ")
            if (definitions[part[2]] == 1 && owner[part[2]] != part[1]) print part[1], owner[part[2]]
        }
    }' >"$work/edges"
[ "$(wc -l <"$work/edges")" -gt 100 ] || { echo "FAILED: no symbols in the objects of $build"; failed=1; }
grep -rE --include='*.[ch]' '^ *# *include *"(vision|backbones|datasets|recipes)/' vision backbones datasets recipes |
    sed -E 's/^([^:]*)\.[ch]: *# *include *"([^"]*)\.h".*/\1 \2/' |
    while read -r from to; do
        [ -f "$from.c" ] && [ -f "$to.c" ] && [ "$from" != "$to" ] && echo "$from $to"
    done >>"$work/edges" || true
sort -u "$work/edges" >"$work/distinct"
if ! tsort "$work/distinct" >/dev/null 2>"$work/loops"; then
    sed 's/^tsort: //' "$work/loops"
    echo "FAILED: files depend on each other in a circle"
    failed=1
fi

# The rooms of recipes/, from the lowest up: what each may include of the others. config knows distill's table of options.
# room FOLDER ALLOWED…: FOLDER includes of recipes/ nothing but itself and the ALLOWED
room() {
    folder=$1
    shift
    [ -d "recipes/$folder" ] || return 0
    pattern=$(echo "$folder" "$@" | tr ' ' '|')
    if grep -rnE --include='*.[ch]' '^ *# *include *"recipes/' "recipes/$folder" | grep -vE "\"recipes/($pattern)/"; then
        echo "FAILED: recipes/$folder/ may know of recipes/ only: $*"
        failed=1
    fi
}
lowest="config model distill"
room config distill
room model distill
room distill
room teacher $lowest infer
room infer $lowest
room quant $lowest infer
room train $lowest teacher infer quant
room deploy $lowest teacher infer train quant
room report $lowest teacher infer train quant
for folder in study bench datatools; do room $folder $lowest teacher infer train quant deploy report; done
for folder in recipes/*/; do # a folder without a rule would slip through
    case $folder in
        recipes/config/ | recipes/model/ | recipes/distill/ | recipes/teacher/ | recipes/infer/ | recipes/train/ | recipes/quant/) ;;
        recipes/deploy/ | recipes/report/ | recipes/study/ | recipes/bench/ | recipes/datatools/ | recipes/commands/ | recipes/conf/) ;;
        *) echo "FAILED: $folder has no place among the rooms of recipes/: give it one in $0"; failed=1 ;;
    esac
done

# Nothing below commands prints or ends the process, but a failed assertion, and a benchmark's worker, which is a process of its own.
if grep -rnE --include='*.c' '(^|[^a-z_>.])(printf|puts|putchar|exit|abort|perror) *\(|fprintf *\( *std(out|err)' \
    $(ls -d vision backbones datasets recipes/*/ | grep -v 'recipes/\(commands\|conf\)') |
    grep -vE '^(vision/base/status|recipes/bench/worker)\.c:'; then
    echo "FAILED: only recipes/commands prints or exits"
    failed=1
fi

# An internal.h is for the files of its room: vision/plan/internal.h for those of vision/plan.
if grep -rnE --include='*.[ch]' '^ *# *include *"[a-z_/]+/internal\.h"' vision backbones datasets recipes |
    awk -F: '{ split($3, quoted, "\""); split($1, file, "/"); split(quoted[2], header, "/")
               if (file[1] "/" file[2] != header[1] "/" header[2]) { print; found = 1 } } END { exit !found }'; then
    echo "FAILED: an internal header of another room"
    failed=1
fi

# Libraries behind one file or folder.
only_in 'vision/comm/' 'mpi\.h'
only_in 'recipes/deploy/' 'microhttpd\.h'
only_in 'recipes/deploy/exporters/' '[a-z/_]*onnx[a-z._-]*\.h'

[ $failed = 0 ] && echo "includes go one way, without circles"
exit $failed
