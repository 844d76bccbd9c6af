#!/bin/sh
# An installed and then moved prefix serves: its headers compile by themselves, a consumer builds with find_package and with
# pkg-config and computes, the program runs and needs nothing from the build tree. usage: test_install.sh BUILD SOURCE
set -eu
build=$1
source=$2
sanitize=$(sed -n 's/^VISTILL_SANITIZE:[^=]*=//p' "$build/CMakeCache.txt")
case $sanitize in
    *thread*) echo "skipped: OpenMP's library is not instrumented for the thread sanitizer"; exit 77 ;;
esac
# A sanitized library needs a consumer with the same sanitizers.
export CFLAGS="-Wall -Wextra -Werror ${sanitize:+-fsanitize=$sanitize}"
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
quiet() { "$@" > "$folder/log" 2>&1 || { echo "FAILED: $*"; cat "$folder/log"; exit 1; }; }

quiet cmake --install "$build" --prefix "$folder/first"
prefix="$folder/moved prefix/deep" # with a space
mkdir "$folder/moved prefix"
mv "$folder/first" "$prefix"
if grep -rlIF -e "$folder/first" -e "$build" -e "$source" "$prefix"; then
    echo "FAILED: an installed file names a folder of the build"
    exit 1
fi

# Headers: all of them, in C and in C++, with nothing but the installed ones in reach.
(cd "$prefix/include/vistill" && find . -name '*.h' | sort | sed 's/.*/#include "&"/') > "$folder/headers.c"
grep -q vision/graph/graph.h "$folder/headers.c"
if grep -E 'kernels|onednn|lowering|node\.h|_parts\.h|commands/' "$folder/headers.c"; then
    echo "FAILED: an internal header is installed"
    exit 1
fi
quiet gcc -std=c11 -Wall -Wextra -Werror -I"$prefix/include/vistill" -fsyntax-only "$folder/headers.c"
quiet g++ -std=c++17 -Wall -Wextra -Werror -I"$prefix/include/vistill" -fsyntax-only -x c++ "$folder/headers.c"

quiet cmake -S "$source/tests/install" -B "$folder/cmake" -DCMAKE_PREFIX_PATH="$prefix"
quiet cmake --build "$folder/cmake"
quiet "$folder/cmake/consumer"
echo "find_package: $(cat "$folder/log")"

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name vistill.pc)")
export PKG_CONFIG_PATH
for static in "" --static; do
    flags=$(pkg-config --cflags --libs $static vistill)
    eval "quiet gcc -std=c11 $CFLAGS \"\$source/tests/install/consumer.c\" -o \"\$folder/consumer\" $flags" # it may quote spaces
    quiet "$folder/consumer"
    echo "pkg-config $static: $(cat "$folder/log")"
done

quiet "$prefix/bin/vistill" models
quiet "$prefix/bin/vistill" doctor
for program in "$prefix/bin/vistill" "$folder/cmake/consumer" "$folder/consumer"; do
    if ldd "$program" | grep -F -e "not found" -e "$build" -e "$source"; then
        echo "FAILED: $program is not independent of the build tree"
        exit 1
    fi
done
echo "installed, moved and used"
