#!/bin/sh
# Weights of timm, torchvision and transformers through `vistill import` and `vistill export` and back into timm: the same answers.
# VISTILL_PYTHON names a Python with torch and timm (and torchvision and transformers, if these are to be tested). usage: … BUILD SOURCE
set -u
[ -n "${VISTILL_PYTHON:-}" ] || { echo "skipped: VISTILL_PYTHON names no Python with torch and timm"; exit 77; }
"$VISTILL_PYTHON" -c 'import torch, timm' || { echo "skipped: $VISTILL_PYTHON has no torch and timm"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
OMP_WAIT_POLICY=passive "$VISTILL_PYTHON" "$2/tests/parity/timm_import.py" "$1/vistill" "$folder"
