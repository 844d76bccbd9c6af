#!/bin/sh
# Installs what Vistill needs (Debian 12 or 13), builds it and runs every test: the ordinary build with warnings as errors,
# clang's if it is installed, the address and undefined-behaviour sanitizers over everything, the thread sanitizer over the
# threaded parts.
#
# usage: sh tests/run.sh [--no-install] [--only dev|clang|asan|tsan]
set -eu
cd "$(dirname "$0")/.."
install=yes
only=""
while [ $# -gt 0 ]; do
    case $1 in
        --no-install) install=no ;;
        --only) only=$2; shift ;;
        *) sed -n '2,7p' "$0"; exit 2 ;;
    esac
    shift
done

[ "$install" = no ] || sh recipes/install.sh --tests
# The version that all files are formatted with. Without a network the test of it is skipped.
format=build/tools/clang_format/data/bin/clang-format
[ -x $format ] || python3 -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 --target build/tools clang-format==18.1.8 ||
    echo "clang-format could not be fetched: the format is not checked"

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
# Another compiler, with the OpenMP that belongs to it: the whole library, and the tests of what is computed.
if echo 'int main(void) { return 0; }' | clang -fopenmp -x c - -o build/clang-openmp 2> /dev/null; then
    step clang -R 'test_(ops|parity|plan|kernels|fuse|winograd|pixels|install)$'
else
    printf '\nclang with its OpenMP (Debian: clang, libomp-dev) is not installed: no build with clang\n'
fi
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
step asan
# OpenMP's own library is not instrumented, so the thread sanitizer is kept to the parts that use POSIX threads, and
# programs run there with one OpenMP thread each.
export OMP_NUM_THREADS=1
step tsan -R 'test_(loader|loader_views|mix|datasets|formats|base|program|session)$'
printf '\nAll tests passed in %d minutes.\n' $((($(date +%s) - started + 59) / 60))
