#!/bin/sh
# Builds one preset of CMakePresets.json and shows how far it is. The output of CMake and the compiler is in
# build/PRESET.log; if something fails, its end is shown and one sentence says what to do, which also ends that file.
#
# usage: sh recipes/build.sh PRESET
set -eu
cd "$(dirname "$0")/.."
[ $# = 1 ] || { sed -n '2,5p' "$0"; exit 2; }
preset=$1
log=build/$preset.log

stop() {
    { echo "$1" >> "$log"; } 2> /dev/null || : # the disk may be full
    echo "$1" >&2
    exit 1
}

mkdir -p build 2> /dev/null && [ -w build ] ||
    stop "$PWD/build cannot be written by user $(id -un): take a copy of this folder that is yours, and run the same command there."

free_mb() { df -Pk build 2> /dev/null | awk 'NR == 2 { print int($4 / 1024) }'; }

no_room() {
    stop "The disk of $PWD/build has $(free_mb) MB free, and a build takes $1 MB: make room, then run the same \
command again."
}

# failed LINES MB: shows the end of the log, and says what to do
failed() {
    uniq "$log" | tail -n "$1" | cut -c 1-200 >&2 # a link command names every object file
    if [ "$(free_mb)" -lt 20 ] || grep -q "No space left on device" "$log"; then no_room "$2"; fi
    grep -q "pip could not fetch" "$log" && stop "oneDNN could not be fetched: connect to PyPI (or name a mirror \
with PIP_INDEX_URL), or install Debian 13's libdnnl-dev, then run the same command again."
    stop "The build failed: what is missing or wrong stands above, the whole output in $log; after mending it, run \
the same command again."
}

# Reads the compiler's output: keeps it, and shows the share that is done; a line for each quarter if nobody watches.
show() {
    quarter=0
    while IFS= read -r line; do
        { printf '%s\n' "$line" >> "$log"; } 2> /dev/null || :
        counts=${line%%]*}
        counts=${counts#\[}
        done=${counts%%/*}
        all=${counts#*/}
        case $done$all in *[!0-9]* | "") continue ;; esac
        if [ -t 1 ]; then printf '\rBuilding: %d of %d ' "$done" "$all"
        elif [ $((4 * done / all)) -gt $quarter ]; then
            quarter=$((4 * done / all))
            echo "Building: $done of $all"
        fi
    done
    [ ! -t 1 ] || printf '\r\033[K'
}

# A sanitizer's objects are larger; oneDNN's wheels take 200 MB with their unpacked files, where the system has none.
needed=500
[ "$preset" != release ] || needed=250
[ -e "build/$preset/build.ninja" ] || [ "$(free_mb)" -ge $needed ] || no_room $needed

echo "Building: preset $preset, $(nproc) at a time, output in $log"
cmake --preset "$preset" > "$log" 2>&1 || failed 30 $needed
exec 4>&1
result=$({ { cmake --build --preset "$preset" -j "$(nproc)" 2>&1 || echo failed >&3; } | show >&4; } 3>&1)
[ -z "$result" ] || failed 60 $needed
