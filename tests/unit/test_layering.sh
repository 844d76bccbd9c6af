#!/bin/sh
# Includes go one way: vision <- {backbones, datasets} <- recipes, backbones and datasets know nothing of each other, and
# oneDNN's, libpng's and libjpeg's headers stay in their one folder or file. usage: test_layering.sh BUILD SOURCE
set -eu
cd "$2"
failed=0

# forbid FOLDER PATTERN REASON: no file of FOLDER includes what matches PATTERN
forbid() {
    if grep -rnE --include='*.[ch]' "^ *# *include *[<\"]($2)" "$1"; then
        echo "FAILED: $3"
        failed=1
    fi
}
forbid vision '(backbones|datasets|recipes)/' "vision/ must not know models, data sets or recipes"
forbid backbones '(datasets|recipes)/' "backbones/ must not know data sets or recipes"
forbid datasets '(backbones|recipes)/' "datasets/ must not know models or recipes"
forbid vision/base 'vision/(image|tensor|graph|ops|kernels|onednn|plan|optim)/' "vision/base/ stands below the rest"
forbid vision/kernels 'vision/(graph|ops|onednn|plan|optim|tensor)/' "vision/kernels/ are loops over arrays"

# only_in PATTERN HEADER: no file whose name does not match PATTERN includes HEADER
only_in() {
    if grep -rnE --include='*.[ch]' "^ *# *include *[<\"]$2" vision backbones datasets recipes | grep -vE "^$1"; then
        echo "FAILED: $2 outside $1"
        failed=1
    fi
}
only_in 'vision/onednn/' '(oneapi/dnnl/)?dnnl'
only_in 'vision/image/png\.c' 'png\.h'
only_in 'vision/image/jpeg\.c' '(jpeglib|jerror|turbojpeg)\.h'
only_in 'recipes/config/yaml\.[ch]' 'yaml\.h'
[ $failed = 0 ] && echo "includes go one way"
exit $failed
