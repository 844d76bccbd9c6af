#!/bin/sh
# Installs the Debian packages that Vistill is built with (--tests: and those of its tests). Needs root, or sudo.
# Debian 12 and 13. oneDNN 3 is Debian 13's libdnnl-dev; Debian 12 has oneDNN 2, and CMake fetches wheels with pip.
# If something fails, the last line says what to do.
set -eu
packages="build-essential cmake ninja-build pkg-config libpng-dev libjpeg62-turbo-dev zlib1g-dev libjansson-dev libyaml-dev
libxxhash-dev libzip-dev librandom123-dev gnuplot-nox dataset-fashion-mnist"
[ "${1:-}" != --tests ] || packages="$packages check python3 python3-pip"
run=""

stop() { printf '%s\n' "$*" >&2; exit 1; }

command -v apt-get > /dev/null && command -v dpkg-query > /dev/null ||
    stop "There is no apt-get here: install what corresponds to these Debian packages, then build as README.md says" \
        "under Install:" $packages "oneDNN 3"

# The version of libdnnl-dev that apt would install.
onednn() { LC_ALL=C apt-cache policy libdnnl-dev | sed -n 's/^ *Candidate: //p'; }

find_missing() {
    missing=""
    for package in $packages; do
        dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
}

need_root() {
    [ "$(id -u)" != 0 ] || return 0
    run=sudo
    command -v sudo > /dev/null && sudo true ||
        stop "Packages can be installed by root alone, and sudo is missing or refused: let root run" \
            "\`apt-get update && apt-get install$missing\`, then run the same command again."
}

# apt ARGUMENTS…: quiet; what it says is kept in $said, since the disk may have no room for a file
said=""
apt() {
    result=0
    text=$($run env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -qq "$@" 2>&1) || result=$?
    said=$said$text
    return $result
}

failed() {
    printf '%s\n' "$said" | tail -n 15 >&2
    case $said in
        *"No space left on device"* | *"enough free space"*)
            stop "The disk is full ($(df -Ph / 2> /dev/null | awk 'NR == 2 { print $4 }') free on /): make room, 1 GB for all" \
                "packages, then run the same command again." ;;
        *"Could not get lock"* | *"Unable to acquire"*)
            stop "Another program is installing packages: wait until it has ended, then run the same command again." ;;
        *"Failed to fetch"* | *"Could not resolve"* | *"Could not connect"* | *"Unable to locate"* | *"no installation candidate"*)
            stop "Debian's packages could not be fetched: check network, proxy and /etc/apt/sources.list*, then run the" \
                "same command again." ;;
    esac
    stop "apt-get failed: mend what it says above (\`apt-get install$missing\` by hand shows all), then run the same" \
        "command again."
}

case $(onednn) in
    3.*) packages="$packages libdnnl-dev" ;;
    "") # no package lists yet
        find_missing
        need_root
        apt update || failed
        case $(onednn) in 3.*) packages="$packages libdnnl-dev" ;; *) packages="$packages python3-pip" ;; esac
        ;;
    *) packages="$packages python3-pip" ;;
esac
find_missing
[ -n "$missing" ] || exit 0

echo "Installing:$missing"
need_root
apt update || failed
# shellcheck disable=SC2086 # a list of packages
apt install -y --no-install-recommends $missing || failed
