#!/bin/sh
# Image operations and decoding against the Pillow of a live Python, over a wide random sweep.
# VISTILL_PYTHON: a Python with Pillow 11 and torchvision; without it the test is skipped. VISTILL_PHOTOS: a tar of photographs
# to decode and to work on as well. usage: test_pillow.sh BUILD SOURCE
set -eu
if [ -z "${VISTILL_PYTHON:-}" ]; then
    echo "skipped: set VISTILL_PYTHON to a Python with Pillow and torchvision to compare image operations with Pillow's"
    exit 77
fi
if ! "$VISTILL_PYTHON" -c 'import PIL, torchvision' 2> /dev/null; then
    echo "skipped: $VISTILL_PYTHON has no Pillow or no torchvision (pip install pillow torchvision)"
    exit 77
fi
exec "$VISTILL_PYTHON" "$2/tests/parity/pillow.py" "$1/tests/test_pixels" ${VISTILL_PHOTOS:+"$VISTILL_PHOTOS"}
