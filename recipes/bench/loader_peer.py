"""The other side of `vistill bench loader --peer`: Pillow and timm on the same image files.

Reads the case as JSON from argv: {"kind": "decode" | "train" | "eval", "decoded": whether decoding is not counted, "size": pixels,
"file": the image files one after the other, "lengths": theirs in bytes}; writes "ready 0 SECONDS" (of one image), then answers each line "N" on standard input with
the seconds that N images took, one after the other on one thread, their bytes in memory.
"""
import io
import json
import os
import sys
import time

case = json.loads(sys.argv[1])


def leave(*why):
    print(*why, flush=True)
    os._exit(1)


def make():
    """What is measured, as a function of an item of `data`."""
    import torch
    from PIL import Image
    from timm.data import create_transform
    torch.set_num_threads(1)

    def decode(encoded):
        image = Image.open(io.BytesIO(encoded)).convert('RGB')
        image.load()
        return image

    if case['kind'] == 'decode':
        return decode
    if case['kind'] == 'train':  # DeiT's
        transform = create_transform(case['size'], is_training=True, auto_augment='rand-m9-mstd0.5-inc1', re_prob=0.25,
                                     re_mode='pixel', interpolation='bicubic')
    else:
        transform = create_transform(case['size'], is_training=False, interpolation='bicubic', crop_pct=0.875)
    if not case['decoded']:
        return lambda encoded: transform(decode(encoded))
    data[:] = map(decode, data)
    return transform


def seconds(count):
    global position
    start = time.perf_counter()
    for _ in range(count):
        one(data[position % len(data)])
        position += 1
    return time.perf_counter() - start


with open(case['file'], 'rb') as file:
    data = [file.read(length) for length in case['lengths']]
try:
    one, position = make(), 0
except ImportError as error:
    leave('error the interpreter lacks a package:', error)
print('ready 0', seconds(8) / 8, flush=True)
position = 0
for line in sys.stdin:
    print(seconds(int(line)), flush=True)
