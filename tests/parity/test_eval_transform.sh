#!/bin/sh
# The loader's view of evaluation beside torchvision's transform of the same files, float for float, over sizes, crops and filters.
# VISTILL_PYTHON names a Python with Pillow, torchvision and timm. usage: test_eval_transform.sh BUILD SOURCE
set -u
[ -n "${VISTILL_PYTHON:-}" ] || { echo "skipped: VISTILL_PYTHON names no Python with Pillow, torchvision and timm"; exit 77; }
"$VISTILL_PYTHON" -c 'import PIL, torchvision, timm' || { echo "skipped: $VISTILL_PYTHON lacks Pillow, torchvision or timm"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$VISTILL_PYTHON" "$2/tests/parity/eval_transform.py" "$1/tests/test_transform" "$folder"
