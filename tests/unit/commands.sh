# For the tests of commands, which begin with `. "$2/tests/unit/commands.sh"`, $1 being the build folder and $2 the sources: the
# program, a folder of the test's own, and what it expects of a command.
vistill=$1/vistill
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() {
    echo "$(basename "$0" .sh): $*" >&2
    exit 1
}
expect() { # CODE TEXT COMMAND…: the exit code, and a text in what it writes
    code=$1 text=$2
    shift 2
    got=0
    "$@" > out 2>&1 || got=$?
    [ "$got" = "$code" ] || fail "$*: exit code $got, expected $code: $(cat out)"
    grep -qF -- "$text" out || fail "$*: \"$text\" is not in: $(cat out)"
}
