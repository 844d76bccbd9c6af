"""The operations of the augmentation policies against timm and torchvision on Pillow; run by test_augment_timm.sh.

usage: augment_timm.py TEST_AUGMENT [PHOTOS.tar]
"""
import math
import random
import subprocess
import sys
import tarfile

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from timm.data import auto_augment, random_erasing, transforms
from torchvision.transforms import autoaugment, functional
from torchvision.transforms.functional import InterpolationMode

FILL = (124, 116, 104)
FILTERS = {0: Image.Resampling.NEAREST, 2: Image.Resampling.BILINEAR, 4: Image.Resampling.BICUBIC}
tool = subprocess.Popen([sys.argv[1], "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
compared = failures = 0


def answer():
    channels, height, width = map(int, tool.stdout.readline().split())
    pixels = np.frombuffer(tool.stdout.read(channels * height * width), np.uint8)
    return pixels.reshape(height, width, channels) if channels > 1 else pixels.reshape(height, width)


def ask(line, image=None):
    """Sends a request and an image behind it."""
    pixels = b""
    if image is not None:
        array = np.asarray(image)
        shape = f"{3 if array.ndim == 3 else 1} {array.shape[0]} {array.shape[1]}"
        line, pixels = line.replace("SHAPE", shape), array.tobytes()
    tool.stdin.write(line.encode() + b"\n" + pixels)
    tool.stdin.flush()


def check(name, got, expected):
    global compared, failures
    expected = np.asarray(expected)
    compared += 1
    if got.shape == expected.shape and np.array_equal(got, expected):
        return
    failures += 1
    detail = f"shape {got.shape}, expected {expected.shape}"
    if got.shape == expected.shape:
        difference = np.abs(got.astype(int) - expected)
        detail = f"{np.count_nonzero(difference)} of {difference.size} values differ, by up to {difference.max()}"
    print(f"FAILED  {name}: {detail}", flush=True)


# ---- Images ----

def made(height, width, seed):
    """Something like a photograph: waves, edges and noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [110 + 60 * np.sin(y / generator.uniform(3, 13) + c) + 50 * np.cos(x / generator.uniform(3, 13) - c)
              + 40 * (x > width / 2 + y / 3) + generator.normal(0, 12, (height, width)) for c in range(3)]
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))


def extreme(seed):
    """Few colours, far apart: saturation, empty histogram bins, ties."""
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (31, 18, 3)))


def photographs(path, count=6):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.name.lower().endswith((".jpg", ".jpeg", ".png")):
                image = Image.open(tar.extractfile(member)).convert("RGB")
                image.thumbnail((300, 300))
                yield member.name, image
                count -= 1
                if not count:
                    return


images = [(f"made {h}x{w}", made(h, w, h)) for h, w in ((96, 128), (224, 224), (33, 7), (1, 5), (2, 2), (3, 3))]
images += [("one colour", Image.new("RGB", (20, 30), (9, 99, 200))), ("extreme", extreme(1))]
if len(sys.argv) > 2:
    images += photographs(sys.argv[2])


# ---- Operations of timm and of torchvision ----

def timm_operations():
    """Every operation at its levels' arguments and both signs, every filter, and the fill colour."""
    for operation, function in auto_augment.NAME_TO_OP.items():
        to_argument = auto_augment.LEVEL_TO_ARG[operation]
        moves = operation.startswith(("Rotate", "Shear", "Translate"))
        for level in (0, 0.3, 2.9, 5, 7.7, 9, 9.5, 10) if to_argument else (0,):
            for sign in (0.75, 0.25):
                random.random = lambda: sign
                arguments = to_argument(level, auto_augment._HPARAMS_DEFAULT) if to_argument else ()
                random.uniform = lambda low, high: low + (high - low) * 0.4  # GaussianBlurRand's radius
                for number in FILTERS if moves else (4,):
                    for name, image in images:
                        expected = function(image, *arguments, fillcolor=FILL, resample=FILTERS[number])
                        ask(f"op {operation} {arguments[0] if arguments else 0!r} {number} 0.4 124 116 104 SHAPE", image)
                        check(f"{operation} {arguments} filter {number} on {name}", answer(), expected)


def torchvision_operations():
    """TrivialAugment's operations at all its strengths, with our arguments for them (test_augment.c compares the arguments)."""
    space = autoaugment.TrivialAugmentWide()._augmentation_space(31)
    for operation, (magnitudes, signed) in space.items():
        if operation == "Identity":
            continue
        for i in range(0, len(magnitudes), 3) if magnitudes.ndim else (0,):
            for sign in (1.0, -1.0) if signed else (1.0,):
                magnitude = sign * (magnitudes[i].item() if magnitudes.ndim else 0.0)
                argument = magnitude
                if operation in ("Brightness", "Color", "Contrast", "Sharpness"):
                    argument = 1.0 + magnitude
                elif operation.startswith("Translate"):
                    argument = -int(magnitude)
                elif operation.startswith("Shear"):
                    angle = math.radians(math.degrees(math.atan(magnitude)))
                    argument = math.tan(angle) if operation == "ShearX" else math.sin(angle) / math.cos(angle)
                for name, image in images:
                    for number, mode in ((0, InterpolationMode.NEAREST), (2, InterpolationMode.BILINEAR)):
                        expected = autoaugment._apply_op(image, operation, magnitude, mode, list(FILL))
                        ask(f"op {operation} {argument!r} {number} 0 124 116 104 SHAPE", image)
                        check(f"torchvision's {operation} {magnitude} filter {number} on {name}", answer(), expected)


def hues():
    """All colours there are."""
    values = np.arange(1 << 24, dtype=np.uint32)
    colours = np.stack([values >> 16, values >> 8 & 255, values & 255], -1).astype(np.uint8).reshape(4096, 4096, 3)
    image = Image.fromarray(colours)
    for turn in (0.0, 0.1234, -0.37, 0.5):
        ask(f"hue {turn!r} SHAPE", image)
        check(f"hue {turn} of all colours", answer(), functional.adjust_hue(image, turn))


# ---- Policies that change sizes, and those without chance ----

def policies():
    for name, image in images:
        for size in (1, 17, 64, 250):
            for filter_name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
                mode = InterpolationMode(filter_name)
                if max(image.size) * size > 4000 * min(image.size):
                    continue
                ask(f"list 0 SHAPE resize:size={size}:interpolation={filter_name}", image)
                check(f"resize to {size}, {filter_name}, of {name}", answer(), functional.resize(image, size, mode))
            ask(f"list 0 SHAPE center_crop:size={size}", image)
            check(f"centre of {name}, {size}", answer(), functional.center_crop(image, size))
        grey = torchvision.transforms.Grayscale(3)(image)
        ask("list 0 SHAPE grayscale:probability=1", image)
        check(f"grayscale of {name}", answer(), grey)
        ask("list 0 SHAPE solarize:probability=1", image)
        check(f"solarize of {name}", answer(), PIL.ImageOps.solarize(image))
        ask("list 0 SHAPE gaussian_blur:probability=1:radius_min=1.7:radius_max=1.7", image)
        check(f"blur of {name}", answer(), image.filter(PIL.ImageFilter.GaussianBlur(1.7)))
        for size in (5, 9):  # every place is tried until the crop is one of torchvision's
            padded = np.asarray(functional.pad(image, 4, padding_mode="reflect")) if min(image.size) > 4 else None
            if padded is None or min(image.size) + 8 < size:
                continue
            ask(f"list 3 SHAPE crop:size={size}:mode=reflect", image)
            got = answer()
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size, 3))[:, :, 0]
            found = (windows == got).all((2, 3, 4)).any() if padded.size < 200000 else None
            if found is not None:
                check(f"crop of {size} of {name}", got if found else got[:0], got)


# ---- The choice of places, with our random numbers in Python's generator ----

class Replay:
    """Stands in for Python's `random` in timm."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def random(self):
        return next(self.draws)

    def uniform(self, low, high):
        return low + (high - low) * self.random()

    def randint(self, low, high):
        return low + int(self.random() * (high - low + 1))


def crops():
    for height, width in ((300, 400), (64, 64), (10, 1000), (1000, 10), (7, 9), (500, 374)):
        image = Image.new("L", (width, height))
        for scale in ((0.08, 1.0), (0.9, 1.0), (1.0, 1.0)):
            for sample in range(60):
                ask(f"crop {sample} {height} {width} {scale[0]} {scale[1]}")
                words = tool.stdout.readline().split()
                transforms.random = Replay(map(float, words[4:]))
                top, left, h, w = transforms.RandomResizedCropAndInterpolation.get_params(image, scale, (3 / 4, 4 / 3))
                check(f"crop {sample} of {height}x{width}, scale {scale}", np.array(list(map(int, words[:4]))), [top, left, h, w])
    transforms.random = random


def erasings():
    for height, width in ((224, 224), (32, 32), (40, 90), (3, 3)):
        for count in (1, 3):
            for sample in range(60):
                ask(f"erase {sample} {height} {width} random_erasing:mode=const:probability=0.7:count={count}")
                draws = list(map(float, tool.stdout.readline().split()))
                if count == 1:
                    del draws[1]  # timm does not draw a number of rectangles that is certain
                random_erasing.random = Replay(draws)
                erasing = random_erasing.RandomErasing(0.7, max_count=count, mode="const", device="cpu")
                expected = 1 - erasing(torch.ones(1, height, width))[0].numpy().astype(np.uint8)
                check(f"erasing {sample} of {height}x{width}, up to {count}", answer(), expected)
    random_erasing.random = random


print(f"timm {timm.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}, {len(images)} images")
for part in (timm_operations, torchvision_operations, hues, policies, crops, erasings):
    before = compared, failures
    part()
    print(f"{part.__name__}: {compared - before[0]} comparisons, {failures - before[1]} failures", flush=True)
tool.stdin.close()
sys.exit(failures > 0 or tool.wait() != 0)
