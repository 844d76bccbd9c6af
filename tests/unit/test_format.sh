#!/bin/sh
# All C and C++ files are as .clang-format says, by the version that tests/run.sh fetches (others format differently).
# usage: test_format.sh BUILD SOURCE
set -eu
cd "$2"
version=18.1.8
tool=build/tools/clang_format/data/bin/clang-format
[ -x "$tool" ] || tool=clang-format
case $($tool --version 2>&1 || true) in
    *" $version"*) ;;
    *) echo "skipped: no clang-format $version; pip install --target build/tools clang-format==$version"; exit 77 ;;
esac
find ./*.h vision backbones datasets recipes tests -name '*.[ch]' -o -name '*.cpp' | sort |
    xargs -P 2 -n 60 "$tool" --dry-run > "$1/format_test.log" 2>&1
files=$(sed -n 's/^\([^:]*\):.*-Wclang-format-violations.*/\1/p' "$1/format_test.log" | sort -u)
if [ -n "$files" ]; then
    echo "FAILED: not as .clang-format says; clang-format -i mends them:"
    echo "$files"
    exit 1
fi
[ ! -s "$1/format_test.log" ] || { cat "$1/format_test.log"; exit 1; }
echo "formatted"
