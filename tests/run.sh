#!/bin/sh
# Installs what Vistill needs (Debian 12 or 13), builds it and runs every test: the ordinary build with warnings as errors,
# the address and undefined-behaviour sanitizers over everything, the thread sanitizer over the threaded parts.
#
# usage: sh tests/run.sh [--no-install] [--only dev|asan|tsan]
set -eu
cd "$(dirname "$0")/.."
install=yes
only=""
while [ $# -gt 0 ]; do
    case $1 in
        --no-install) install=no ;;
        --only) only=$2; shift ;;
        *) sed -n '2,6p' "$0"; exit 2 ;;
    esac
    shift
done

[ "$install" = no ] || sh recipes/install.sh --tests

# step NAME CMAKE_PRESET CTEST_ARGUMENTS…: one build and its tests
step() {
    preset=$1
    shift
    [ -z "$only" ] || [ "$only" = "$preset" ] || return 0
    printf '\n== %s ==\n' "$preset"
    cmake --preset "$preset" > "build/$preset.log" 2>&1 || { cat "build/$preset.log"; exit 1; }
    cmake --build --preset "$preset" -j "$(nproc)" > "build/$preset.log" 2>&1 || { tail -n 60 "build/$preset.log"; exit 1; }
    ctest --preset "$preset" "$@"
}

mkdir -p build
started=$(date +%s)
step dev
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
step asan
# OpenMP's own library is not instrumented, so the thread sanitizer is kept to the parts that use POSIX threads, and
# programs run there with one OpenMP thread each.
step tsan -R 'test_(loader|loader_views|mix|datasets|formats|base|program)$'
printf '\nAll tests passed in %d minutes.\n' $((($(date +%s) - started + 59) / 60))
