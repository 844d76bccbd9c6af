#!/bin/sh
# Trains beside DeiT's arithmetic in PyTorch and timm: the same weights, the same batches (vistill data dump), losses of each step
# (steps.csv), weights and moving average at the end. VISTILL_PYTHON names a Python with torch, timm and safetensors; with
# VISTILL_DEIT, a checkout of facebookresearch/deit, its losses.py is used in place of its formulas. usage: test_deit_training.sh BUILD SOURCE
set -u
[ -n "${VISTILL_PYTHON:-}" ] || { echo "skipped: VISTILL_PYTHON names no Python with torch, timm and safetensors"; exit 77; }
"$VISTILL_PYTHON" -c 'import torch, timm, safetensors' || { echo "skipped: $VISTILL_PYTHON lacks torch, timm or safetensors"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
OMP_WAIT_POLICY=passive "$VISTILL_PYTHON" "$2/tests/parity/deit_training.py" "$(cd "$1" && pwd)/vistill" "$folder"
