#!/bin/sh
# An installed and then moved prefix serves: its headers and the symbols of its shared library are the public ones alone,
# consumers in C and C++ build with find_package and pkg-config against both libraries and compute, the program runs, and
# nothing needs the build tree. usage: test_install.sh BUILD SOURCE
set -eu
build=$1
source=$2
cached() { sed -n "s/^$1:[^=]*=//p" "$build/CMakeCache.txt"; }
sanitize=$(cached VISTILL_SANITIZE)
case $sanitize in
    *thread*) echo "skipped: OpenMP's library is not instrumented for the thread sanitizer"; exit 77 ;;
esac
# A library of clang needs clang for its OpenMP, a sanitized one a consumer with the same sanitizers.
case $(cached CMAKE_C_COMPILER) in
    *clang*) export CC=clang CXX=clang++ ;;
    *) export CC=gcc CXX=g++ ;;
esac
export CFLAGS="-Wall -Wextra -Werror ${sanitize:+-fsanitize=$sanitize}" LC_ALL=C
export CXXFLAGS="$CFLAGS"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" > "$folder/log" 2>&1 || { echo "FAILED: $*"; cat "$folder/log"; exit 1; }; }
fail() { echo "FAILED: $*"; exit 1; }

quiet cmake --install "$build" --prefix "$folder/first"
prefix="$folder/moved prefix/deep" # with a space
mkdir "$folder/moved prefix"
mv "$folder/first" "$prefix"
! grep -rlIF -e "$folder/first" -e "$build" -e "$source" "$prefix" || fail "an installed file names a folder of the build"
library=$(dirname "$(find "$prefix" -name libvistill.so)")

# Headers: all of them, in C and in C++, with nothing but the installed ones in reach.
include="$prefix/include/vistill"
(cd "$include" && find . -name '*.h' | sort | sed 's/.*/#include "&"/') > "$folder/headers.c"
for header in vistill.h vistill_plugin.h vision/graph/graph.h vision/ops/ops.h backbones/backbone.h; do
    grep -q "/$header\"" "$folder/headers.c" || fail "$header is not installed"
done
! grep -rniE 'vsti_' "$include" || fail "an installed header names something internal"
quiet gcc -std=c11 -Wall -Wextra -Werror -I"$include" -fsyntax-only -aux-info "$folder/declared" "$folder/headers.c"
quiet g++ -std=c++17 -Wall -Wextra -Werror -I"$include" -fsyntax-only -x c++ "$folder/headers.c"

# The shared library exports what they declare, and nothing else.
sed -n 's/.* extern .*[ *]\(vst_[a-z0-9_]*\) (.*/\1/p' "$folder/declared" | sort -u > "$folder/functions"
nm -D --defined-only "$library/libvistill.so" | awk '{print $3}' | grep -vxE '__bss_start|_edata|_end|__odr_asan\..*' | sort > "$folder/exported"
grep -qx vst_graph_create "$folder/functions" || fail "no declarations were found"
! comm -23 "$folder/functions" "$folder/exported" | grep . || fail "the shared library lacks what a header declares"
! grep -v '^vst_' "$folder/exported" || fail "the shared library exports what is not public"

quiet cmake -S "$source/tests/install" -B "$folder/cmake" -DCMAKE_PREFIX_PATH="$prefix"
quiet cmake --build "$folder/cmake" -j 2
for consumer in c cpp static; do
    quiet "$folder/cmake/consumer_$consumer"
    echo "find_package, $consumer: $(cat "$folder/log")"
done

PKG_CONFIG_PATH="$library/pkgconfig"
export PKG_CONFIG_PATH
# consumer NAME COMPILER FILE PACKAGE…: eval, because the flags quote the space
consumer() {
    name=$1 command="$2 \"\$source/tests/install/$3\" -o \"\$folder/$1\""
    shift 3
    eval "quiet $command $(pkg-config --cflags --libs "$@")"
    LD_LIBRARY_PATH=$library quiet "$folder/$name"
    echo "pkg-config, $*: $(cat "$folder/log")"
}
consumer pc_c "$CC -std=c11 $CFLAGS" consumer.c vistill
consumer pc_cpp "$CXX -std=c++17 $CXXFLAGS" consumer.cpp --static vistill # what the shared library needs stays its own
consumer pc_static "$CC -std=c11 $CFLAGS" consumer.c vistill-static

quiet "$prefix/bin/vistill" models
quiet "$prefix/bin/vistill" doctor
for program in "$prefix/bin/vistill" "$library/libvistill.so" "$folder"/cmake/consumer_[cs]* "$folder/pc_static"; do
    ! ldd "$program" | grep -F -e "not found" -e "$build" -e "$source" || fail "$program is not independent of the build tree"
done
for program in "$folder/cmake/consumer_static" "$folder/pc_static" "$prefix/bin/vistill"; do
    ! ldd "$program" | grep -F libvistill || fail "$program is not static"
done
for program in "$folder/cmake/consumer_c" "$folder/cmake/consumer_cpp"; do
    ldd "$program" | grep -qF "$library/libvistill.so" || fail "$program does not use the installed shared library"
done
echo "installed, moved and used"
