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
tensors() { # FILE: the tensors' bytes, without the header, which holds the seconds that a training took
    header=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
    tail -c +$((header + 9)) "$1"
}
# An IDX data set of three classes; an image's first pixel is its number + 100, the others are all the same.
idx() { # FOLDER TRAINING_IMAGES TEST_IMAGES ROWS COLUMNS
    mkdir "$1"
    idx_split "$1/train" "$2" "$4" "$5"
    idx_split "$1/t10k" "$3" "$4" "$5"
}
idx_split() { # NAME COUNT ROWS COLUMNS
    number=0
    printf "\\0\\0\\10\\1\\0\\0\\0\\$(printf %o "$2")" > "$1-labels-idx1-ubyte"
    printf "\\0\\0\\10\\3\\0\\0\\0\\$(printf %o "$2")\\0\\0\\0\\$(printf %o "$3")\\0\\0\\0\\$(printf %o "$4")" > "$1-images-idx3-ubyte"
    while [ $number -lt "$2" ]; do
        printf "\\$(printf %o $((number % 3)))" >> "$1-labels-idx1-ubyte"
        printf "\\$(printf %o $((100 + number)))%0$(($3 * $4 - 1))d" 0 >> "$1-images-idx3-ubyte"
        number=$((number + 1))
    done
}
