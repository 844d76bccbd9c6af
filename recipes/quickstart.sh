#!/bin/sh
# The main job on real data: installs packages, builds Vistill, then trains a plain Vision Transformer and one distilled from
# a larger ResNet (recipes/conf/fashion-teacher.safetensors) on Fashion-MNIST, and compares all three. --quick: a few steps
# of each, to see it work. If something fails, the last line says what to do.
#
# usage: sh recipes/quickstart.sh [--quick]
set -eu
cd "$(dirname "$0")/.."
study=recipes/conf/fashion.yaml
case ${1:-} in
    "") ;;
    --quick) study=recipes/conf/fashion-quick.yaml ;;
    *) sed -n '2,6p' "$0"; exit 2 ;;
esac

sh recipes/install.sh
sh recipes/build.sh release
exec build/release/vistill study "$study"
