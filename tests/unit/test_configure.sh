#!/bin/sh
# `cmake -S . -B build` works where Check is not installed: a Release build, all targets but the tests, and a message.
# usage: test_configure.sh BUILD SOURCE
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/pkgconfig"
# The machine's packages without Check.
pkg-config --variable pc_path pkg-config | tr : '\n' | while read -r path; do
    for file in "$path"/*.pc; do
        case $file in */check.pc | */'*.pc') ;; *) ln -sf "$file" "$folder/pkgconfig/" ;; esac
    done
done
compiler=$(sed -n 's/^CMAKE_C_COMPILER:[^=]*=//p' "$1/CMakeCache.txt")
PKG_CONFIG_PATH="" PKG_CONFIG_LIBDIR="$folder/pkgconfig" cmake -S "$2" -B "$folder/build" -DCMAKE_C_COMPILER="$compiler" \
    > "$folder/log" 2>&1 || { echo "FAILED: not configured"; cat "$folder/log"; exit 1; }
grep -q 'tests are skipped.*Check' "$folder/log" || { echo "FAILED: no message about the tests"; exit 1; }
grep -q '^CMAKE_BUILD_TYPE:[A-Z]*=Release$' "$folder/build/CMakeCache.txt" || { echo "FAILED: not a Release build"; exit 1; }
cmake --build "$folder/build" --target help > "$folder/targets"
for target in vistill vistill_shared vistill_program; do
    grep -q "$target\$" "$folder/targets" || { echo "FAILED: there is no target $target"; exit 1; }
done
! grep test_ops "$folder/targets" || { echo "FAILED: tests without Check"; exit 1; }
echo "configured without Check"
