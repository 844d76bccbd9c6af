#!/bin/sh
# One OpenMP library serves Vistill and oneDNN, so that there is one pool of threads: gcc's, or with clang libomp, which has
# the entry points that oneDNN was compiled for. Of the program and of the shared library. usage: test_openmp.sh BUILD SOURCE
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
case $(sed -n 's/^VISTILL_SANITIZE:[^=]*=//p' "$1/CMakeCache.txt") in
    ?*) echo "skipped: a sanitizer has to be loaded before the shared library"; exit 77 ;;
esac
LD_BIND_NOW=1 LD_DEBUG=bindings LD_DEBUG_OUTPUT="$folder/program" "$1/vistill" --version > /dev/null
LD_BIND_NOW=1 LD_DEBUG=bindings LD_DEBUG_OUTPUT="$folder/shared" LD_PRELOAD="$1/libvistill.so" "$(command -v sleep)" 0
for what in program shared; do
    # The file that calls and the file that serves, without the calls between OpenMP libraries.
    sed -nE 's|.*binding file ([^ ]*) \[0\] to ([^ ]*) \[0\]: .*`(GOMP_\|omp_\|__kmpc_).*|\1 \2|p' "$folder/$what".* |
        grep -vE '^[^ ]*/lib[gi]?omp[^ /]* ' | sort -u > "$folder/calls"
    grep -q 'libdnnl' "$folder/calls" || { echo "FAILED: oneDNN's calls are not seen"; exit 1; }
    if [ "$(cut -d ' ' -f 2 "$folder/calls" | sort -u | wc -l)" != 1 ]; then
        echo "FAILED: several OpenMP libraries serve the $what:"
        cat "$folder/calls"
        exit 1
    fi
    echo "$what: $(cut -d ' ' -f 2 "$folder/calls" | sort -u)"
done
