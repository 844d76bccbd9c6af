#!/bin/sh
# The main job on real data: installs packages, builds Vistill, then trains a ResNet teacher, a plain Vision Transformer and
# one distilled from the teacher on Fashion-MNIST, and compares them. --quick: a few steps of each, to see it work.
#
# usage: sh recipes/quickstart.sh [--quick]
set -eu
cd "$(dirname "$0")/.."
study=recipes/conf/fashion.yaml
case ${1:-} in
    "") ;;
    --quick) study=recipes/conf/fashion-quick.yaml ;;
    *) sed -n '2,5p' "$0"; exit 2 ;;
esac

sh recipes/install.sh
mkdir -p build
echo "Building …"
cmake --preset release > build/release.log 2>&1 || { cat build/release.log; exit 1; }
cmake --build --preset release -j "$(nproc)" > build/release.log 2>&1 || { tail -n 60 build/release.log; exit 1; }
exec build/release/vistill study "$study"
