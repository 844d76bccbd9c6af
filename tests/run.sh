#!/bin/sh
# Installs what Vistill needs (Debian 12 or 13), builds it and runs every test: the ordinary build with warnings as errors,
# its tests of what is computed once more with nothing wider than AVX2, clang's build if clang is installed, the address and
# undefined-behaviour sanitizers over everything, the thread sanitizer over the threaded parts. All parts run, even if one
# fails; the last lines say what passed and what failed.
#
# usage: sh tests/run.sh [--no-install] [--only dev|avx2|clang|asan|tsan]
set -eu
cd "$(dirname "$0")/.."
usage() { sed -n '2,7p' "$0"; exit 2; }
install=yes
only=""
while [ $# -gt 0 ]; do
    case $1 in
        --no-install) install=no ;;
        --only)
            case ${2:-} in dev | avx2 | clang | asan | tsan) only=$2 ;; *) usage ;; esac
            shift
            ;;
        *) usage ;;
    esac
    shift
done

mkdir -p build && [ -w build ] || {
    echo "$PWD/build cannot be written by user $(id -un): take a copy of this folder that is yours, and run the same command there."
    exit 1
}
started=$(date +%s)
failed=no
summary=build/tests.txt # a line for each part
advice=""    # what to do about packages and builds
unchecked="" # what was left out
: > $summary

if [ $install = yes ] && ! sh recipes/install.sh --tests 2> build/install.log; then
    cat build/install.log >&2
    advice=$(tail -n 1 build/install.log)
fi
# The version that all files are formatted with. Without a network the test of it is skipped.
format=build/tools/clang_format/data/bin/clang-format
[ -x $format ] || python3 -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 --target build/tools \
    clang-format==18.1.8 2> build/format.log || {
    tail -n 3 build/format.log >&2
    unchecked="clang-format 18.1.8 could not be fetched with pip (build/format.log), so the format is not checked: connect to \
PyPI, or name a mirror with PIP_INDEX_URL."
}

# wanted PART: prints its heading, unless another part alone was asked for
wanted() {
    [ -z "$only" ] || [ "$only" = "$1" ] || return 1
    printf '\n== %s ==\n' "$1"
}

# note PART RESULT: for the last lines
note() { printf '  %-6s%s\n' "$1" "$2" >> $summary; }

skip() {
    echo "skipped: $2"
    note "$1" "skipped: $2"
}

# part NAME PRESET CTEST_ARGUMENTS…: one build and its tests, with the variables of $with besides the caller's
with=""
part() {
    name=$1 preset=$2
    shift 2
    if ! sh recipes/build.sh "$preset"; then
        failed=yes
        note "$name" "FAILED: does not build, see build/$preset.log"
        [ -n "$advice" ] || advice=$(tail -n 1 "build/$preset.log")
        return 0
    fi
    results=$PWD/build/$name.xml
    names=build/$preset/Testing/Temporary/LastTestsFailed.log
    rm -f "$results" "$names"
    result=passed
    # Two at a time: many use a thread for each core. Those that measure time run alone (see CMakeLists.txt).
    # shellcheck disable=SC2086 # a list of variables
    env $with ctest --preset "$preset" -j 2 --no-tests=error --output-junit "$results" "$@" || { result=FAILED; failed=yes; }
    count() { sed -n "s/^[[:space:]]*$1=\"\([0-9]*\)\".*/\1/p" "$results" 2> /dev/null | head -n 1; }
    note "$name" "$result: $(count tests) tests, $(count failures) failed, $(count skipped) skipped"
    [ ! -s "$names" ] || sed 's/^[0-9]*:/          /' "$names" >> $summary
}

! wanted dev || part dev dev
# What is computed, as a processor without AVX-512 computes it.
if wanted avx2; then
    if grep -q '^flags.* avx512f' /proc/cpuinfo; then
        with="VISTILL_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2"
        part avx2 dev -R 'test_(kernels|pixels|ops|winograd|fuse|plan|program|optim|distill|deit|models|parity|terms|train|session|precision|quantize)$'
        with=""
    else
        skip avx2 "this processor has nothing wider than AVX2"
    fi
fi
# Another compiler, with the OpenMP that belongs to it: the whole library, and the tests of what is computed.
if wanted clang; then
    if echo 'int main(void) { return 0; }' | clang -fopenmp -x c - -o build/clang-openmp 2> /dev/null; then
        part clang clang -R 'test_(ops|parity|plan|kernels|fuse|winograd|pixels|install)$'
    else
        skip clang "clang with its OpenMP (Debian: clang, libomp-dev) is not installed"
    fi
fi
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
    LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0" \
    TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp"
! wanted asan || part asan asan
# OpenMP's own library is not instrumented, so the thread sanitizer is kept to the parts that use POSIX threads, and
# programs run there with one OpenMP thread each, and a team that a test asks for is not watched (its clocks are summed by
# that library).
if wanted tsan; then
    with="OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive"
    part tsan tsan -R 'test_(loader|loader_views|mix|datasets|formats|base|program|session)$'
    with=""
fi

printf '\nAfter %d minutes:\n' $((($(date +%s) - started + 59) / 60))
cat $summary
[ -z "$unchecked" ] || [ -n "$advice" ] || echo "$unchecked"
[ -z "$advice" ] || echo "$advice"
[ $failed = no ]
