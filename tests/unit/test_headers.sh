#!/bin/sh
# Every header compiles alone, as C11 and, if it is public, as C++17. usage: test_headers.sh BUILD SOURCE
set -eu
cd "$2"
failed=0
# Headers of the inside have no extern "C" and are C only (cmake/Install.cmake keeps them back by the same rule).
for header in $(find vision backbones datasets recipes -name '*.h' | sort); do
    printf '#include "%s"\nint vst_header_test;\n' "$header" > "$1/header_test.c"
    gcc -std=c11 -D_GNU_SOURCE -fopenmp -Wall -Wextra -Werror -I. -I"$1/kernels" -DVSTI_ISA=generic -fsyntax-only "$1/header_test.c" || failed=1
    grep -q '^extern "C"' "$header" || continue
    g++ -std=c++17 -D_GNU_SOURCE -Wall -Wextra -Werror -I. -fsyntax-only -x c++ "$1/header_test.c" || failed=1
done
[ $failed = 0 ] && echo "headers compile alone"
exit $failed
