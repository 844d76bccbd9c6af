"""Compares what the loader makes of image files for evaluation with what timm's transform, made of torchvision's, does.

usage: python eval_transform.py TEST_TRANSFORM FOLDER       TEST_TRANSFORM: the test program, which writes the loader's floats
"""
import os
import subprocess
import sys

import numpy as np
from PIL import Image
from timm.data import create_transform

program, folder = sys.argv[1:]
images = os.path.join(folder, 'images')
os.mkdir(images)
random = np.random.default_rng(3)
sizes = [(500, 375), (375, 500), (333, 251), (224, 224), (256, 256), (257, 225), (64, 300), (1000, 97), (31, 33), (9, 5)]
for i, (width, height) in enumerate(sizes):
    y, x = np.mgrid[0:height, 0:width]
    waves = [128 + 60 * np.sin(x / (3 + c + i)) + 60 * np.cos(y / (5 + 2 * c)) for c in range(3)]
    pixels = np.clip(np.stack(waves, -1) + random.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    if i % 5 == 2:
        image = image.convert('L')
    name = os.path.join(images, f'{i:02}')
    if i % 4 == 3:
        image.save(name + '.png')
    else:
        image.save(name + '.jpg', quality=70 + 3 * i, subsampling=i % 3, progressive=i % 2 == 1)

filters = {'nearest': 0, 'box': 1, 'bilinear': 2, 'hamming': 3, 'bicubic': 4, 'lanczos': 5}  # as vst_filter
failed = False
for size, crop_pct, name in [(224, 0.875, 'bicubic'), (224, 0.9, 'bicubic'), (224, 1.0, 'bicubic'), (240, 0.95, 'bilinear'),
                             (63, 0.87, 'lanczos'), (32, 1.0, 'bilinear'), (97, 0.77, 'box'), (224, 0.965, 'bicubic')]:
    out = os.path.join(folder, 'out')
    subprocess.run([program, images, str(size), repr(crop_pct), str(filters[name]), out], check=True)
    ours = np.fromfile(out, np.float32).reshape(-1, 3, size, size)
    transform = create_transform(size, is_training=False, interpolation=name, crop_pct=crop_pct, mean=(0, 0, 0), std=(1, 1, 1))
    files = sorted(os.listdir(images))
    assert len(files) == len(ours) == len(sizes)
    for file, mine in zip(files, ours):
        theirs = transform(Image.open(os.path.join(images, file)).convert('RGB')).numpy()
        if not np.array_equal(mine, theirs):
            differ = np.abs(mine - theirs)
            print(f'FAILED: {file}, size {size}, crop_pct {crop_pct}, {name}: {np.count_nonzero(differ)} of {differ.size} differ, '
                  f'by {255 * differ.max():.2f} of 255')
            failed = True
if not failed:
    print('the view of evaluation is that of timm and torchvision')
sys.exit(failed)
