#!/bin/sh
# Installs the Debian packages that Vistill is built with (--tests: and those of its tests). Needs root, or sudo.
set -eu
packages="build-essential cmake ninja-build pkg-config python3 python3-pip libpng-dev libjpeg62-turbo-dev zlib1g-dev libjansson-dev libyaml-dev
libxxhash-dev libzip-dev librandom123-dev gnuplot-nox dataset-fashion-mnist"
[ "${1:-}" != --tests ] || packages="$packages check"

missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
run=""
[ "$(id -u)" = 0 ] || run=sudo
$run apt-get -qq update
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive $run apt-get -qq install -y --no-install-recommends $missing > /dev/null
