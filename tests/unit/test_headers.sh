#!/bin/sh
# Every header compiles alone as C11. A public one (vision/base/api.h) also does as C++17, names nothing internal and includes
# public ones only. usage: test_headers.sh BUILD SOURCE
set -eu
cd "$2"
failed=0
is_public() { case $1 in */*) grep -q VST_BEGIN_DECLS "$1" ;; esac; }
for header in *.h $(find vision backbones datasets recipes -name '*.h' | sort); do
    printf '#include "%s"\nint vst_header_test;\n' "$header" > "$1/header_test.c"
    gcc -std=c11 -D_GNU_SOURCE -fopenmp -Wall -Wextra -Werror -I. -I"$1/kernels" -DVSTI_ISA=generic -fsyntax-only "$1/header_test.c" || failed=1
    is_public "$header" || continue
    g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only -x c++ "$1/header_test.c" || failed=1
    if grep -Hniw 'vsti_[a-z0-9_]*' "$header"; then echo "FAILED: $header is public and names something internal"; failed=1; fi
    for other in $(sed -n 's/^ *# *include "\(.*\)"/\1/p' "$header"); do
        is_public "$other" || { echo "FAILED: $header is public and includes $other, which is not"; failed=1; }
    done
done
[ $failed = 0 ] && echo "headers compile alone"
exit $failed
