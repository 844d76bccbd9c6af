#!/bin/sh
# Logits of full-size models against timm's, with random weights: the cases of cases.json that are not committed.
# VISTILL_PYTHON names a Python with torch, timm and safetensors. usage: test_full_size.sh BUILD SOURCE [CASE…]
set -eu
build=$1 parity=$2/tests/parity
shift 2
[ -n "${VISTILL_PYTHON:-}" ] || { echo "skipped: VISTILL_PYTHON names no Python with torch and timm"; exit 77; }
"$VISTILL_PYTHON" -c 'import torch, timm, safetensors' || { echo "skipped: $VISTILL_PYTHON lacks torch or timm"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
[ $# -gt 0 ] || set -- $("$VISTILL_PYTHON" "$parity/make_fixtures.py" --list)
[ $# -gt 0 ] || { echo "cases.json has no full-size case"; exit 1; }
for case in "$@"; do # one at a time: a model's weights take up to 350 MB
    "$VISTILL_PYTHON" "$parity/make_fixtures.py" --full-size "$folder" "$case"
    "$build/tests/test_parity" "$folder" "$case"
    rm "$folder/$case".*
done
