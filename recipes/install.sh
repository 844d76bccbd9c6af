#!/bin/sh
# Installs the Debian packages that Vistill is built with (--tests: and those of its tests). Needs root, or sudo.
# Debian 12 and 13. oneDNN 3 is Debian 13's libdnnl-dev; Debian 12 has oneDNN 2, and CMake fetches wheels with pip.
set -eu
packages="build-essential cmake ninja-build pkg-config libpng-dev libjpeg62-turbo-dev zlib1g-dev libjansson-dev libyaml-dev
libxxhash-dev libzip-dev librandom123-dev gnuplot-nox dataset-fashion-mnist"
[ "${1:-}" != --tests ] || packages="$packages check python3 python3-pip"
run=""
[ "$(id -u)" = 0 ] || run=sudo

# The version of libdnnl-dev that apt would install.
onednn() { LC_ALL=C apt-cache policy libdnnl-dev | sed -n 's/^ *Candidate: //p'; }
[ -n "$(onednn)" ] || $run apt-get -qq update # no package lists yet
case $(onednn) in
    3.*) packages="$packages libdnnl-dev" ;;
    *) packages="$packages python3-pip" ;;
esac

missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
$run apt-get -qq update
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive $run apt-get -qq install -y --no-install-recommends $missing > /dev/null
