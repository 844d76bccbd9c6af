#!/bin/sh
# The operations of the augmentation policies against timm and torchvision on Pillow, bit by bit.
# VISTILL_PYTHON names a Python with timm, torchvision and Pillow; VISTILL_PHOTOS may name a tar of photographs, of which some are
# used beside the images made by formula. usage: … BUILD SOURCE
set -u
[ -n "${VISTILL_PYTHON:-}" ] || { echo "skipped: VISTILL_PYTHON names no Python with timm, torchvision and Pillow"; exit 77; }
"$VISTILL_PYTHON" -c 'import timm, torchvision, PIL' ||
    { echo "skipped: $VISTILL_PYTHON has no timm, torchvision and Pillow"; exit 77; }
"$VISTILL_PYTHON" "$2/tests/parity/augment_timm.py" "$1/tests/test_augment" ${VISTILL_PHOTOS:+"$VISTILL_PHOTOS"}
