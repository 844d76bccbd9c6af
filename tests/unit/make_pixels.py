"""Makes tests/unit/pixels/: what Pillow 11.3 makes of small images, as checksums, and small JPEG files of every kind.

usage: make_pixels.py   (in an environment with pillow==11.3.0 and torchvision)
The images come from a formula that test_pixels.c has too; a line of operations.txt is
CHANNELS HEIGHT WIDTH KIND SEED;COMMAND;CHECKSUM, with the commands of pixel_commands.h, and one of files.txt is
NAME;CHANNELS;CHECKSUM (channels 0: as the file has them). The checksum is the CRC-32 of "CHANNELS HEIGHT WIDTH" and the pixels.
"""
import io
import math
import pathlib
import random
import zlib

import PIL
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

assert PIL.__version__ == "11.3.0", "the fixtures are those of Pillow 11.3.0"
FOLDER = pathlib.Path(__file__).parent / "pixels"
FILL = (124, 116, 104)
FILTERS = {"nearest": Image.NEAREST, "box": Image.BOX, "bilinear": Image.BILINEAR, "hamming": Image.HAMMING,
           "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
TURNS = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE,
         6: Image.ROTATE_270, 7: Image.TRANSVERSE, 8: Image.ROTATE_90}


def noise(y, x, c, seed):
    h = (y * 0x9E3779B1 + x * 0x85EBCA77 + c * 0xC2B2AE3D + seed * 0x27D4EB2F) & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 0x2C1B3C6D & 0xFFFFFFFF
    return (h ^ h >> 12) & 255


def sample(kind, y, x, c, seed):
    if kind == 0:
        return noise(y, x, c, seed)
    if kind == 1:  # slopes, with a little noise
        return (y * 3 + x * 5 + c * 40 + seed + (noise(y, x, c, seed) >> 5)) % 512 // 2
    if kind == 2:  # dull
        return 70 + c * 9 + (noise(y, x, c, seed) >> 3)
    if kind == 3:  # black and white
        return 255 * (noise(y // 3, x // 4, 0, seed) & 1)
    return (seed * 37 + c * 91) & 255  # one colour


def make(channels, height, width, kind, seed):
    data = bytes(sample(kind, y, x, c, seed) for y in range(height) for x in range(width) for c in range(channels))
    return Image.frombytes("RGB" if channels == 3 else "L", (width, height), data)


def run(image, command):
    """The reference for pixel_commands.h."""
    from torchvision.transforms import functional as F
    name, *words = command.split()
    grey = image.mode == "L"
    fill = FILL[0] if grey else FILL
    size = image.size
    affine = lambda size, m, f: image.transform(size, Image.AFFINE, m, FILTERS[f], fillcolor=fill)
    if name == "crop":
        t, l, h, w = map(int, words)
        return image.crop((l, t, l + w, t + h))
    if name == "pad":
        t, l, b, r = map(int, words[:4])
        return F.pad(image, [l, t, r, b], fill=fill, padding_mode=words[4])
    if name in ("resize", "resize_box"):
        h, w = map(int, words[1:3])
        if name == "resize_box":
            t, l, bh, bw = map(int, words[3:])
            image = image.crop((l, t, l + bw, t + bh))
        return image.resize((w, h), FILTERS[words[0]])
    if name == "affine":
        return affine((int(words[2]), int(words[1])), tuple(map(float, words[3:])), words[0])
    if name == "rotate":
        return image.rotate(float(words[1]), FILTERS[words[0]], fillcolor=fill)
    if name in ("shear_x", "shear_y", "translate_x", "translate_y"):
        v = float(words[1])
        return affine(size, {"shear_x": (1, v, 0, 0, 1, 0), "shear_y": (1, 0, 0, v, 1, 0), "translate_x": (1, 0, v, 0, 1, 0),
                             "translate_y": (1, 0, 0, 0, 1, v)}[name], words[0])
    if name == "flip":
        return image.transpose(Image.FLIP_LEFT_RIGHT)
    if name == "turn":
        return image.transpose(TURNS[int(words[0])]) if int(words[0]) in TURNS else image.copy()
    if name == "grayscale":
        return image if grey else image.convert("L").convert("RGB")
    if name in ("color", "contrast", "brightness", "sharpness"):
        return getattr(ImageEnhance, name.capitalize())(image).enhance(float(words[0]))
    if name in ("autocontrast", "equalize", "invert"):
        return getattr(ImageOps, name)(image)
    if name == "posterize":
        return image if int(words[0]) >= 8 else ImageOps.posterize(image, int(words[0]))
    if name == "solarize":
        return ImageOps.solarize(image, int(words[0]))
    if name == "solarize_add":
        add, threshold = map(int, words)
        table = [min(255, i + add) if i < threshold else i for i in range(256)]
        return image.point(table * (1 if grey else 3))
    if name == "blur":
        return image.filter(ImageFilter.GaussianBlur(float(words[0])))
    if name == "jpeg":
        return Image.open(io.BytesIO(jpeg(image, quality=int(words[0]))))
    raise ValueError(command)


def random_command(rng, height, width, name=None):
    """A command for an image of this size; "jpeg" comes only if asked for."""
    names = ["crop", "pad", "resize", "resize", "resize", "resize_box", "affine", "rotate", "shear_x", "shear_y",
             "translate_x", "translate_y", "flip", "turn", "grayscale", "color", "contrast", "brightness", "sharpness",
             "autocontrast", "equalize", "posterize", "solarize", "solarize_add", "invert", "blur"]
    name = name or rng.choice(names)

    def box():
        h, w = rng.randint(1, height), rng.randint(1, width)
        return f"{rng.randint(0, height - h)} {rng.randint(0, width - w)} {h} {w}"

    def side(n):
        return rng.choice([1, 2, 3, n, n + 1, max(1, n - 1), 2 * n, (n + 1) // 2, rng.randint(1, 64), rng.randint(1, 3 * n)])

    geometric = rng.choice(["nearest", "bilinear", "bicubic", "bicubic"])
    if name == "crop":
        return f"crop {box()}"
    if name == "pad":
        return f"pad {' '.join(str(rng.randint(0, 9)) for _ in range(4))} {rng.choice(['constant', 'edge', 'reflect'])}"
    if name == "resize":
        return f"resize {rng.choice(list(FILTERS))} {side(height)} {side(width)}"
    if name == "resize_box":
        return f"resize_box {rng.choice(list(FILTERS))} {side(height)} {side(width)} {box()}"
    if name == "affine":
        m = [rng.uniform(-2, 2) for _ in range(6)]
        m[2], m[5] = rng.uniform(-width, width), rng.uniform(-height, height)
        if rng.random() < 0.3:
            m[1] = m[3] = 0
        if rng.random() < 0.1:
            m[2] = 1e5 * rng.random()
        return f"affine {geometric} {side(height)} {side(width)} {' '.join(map(repr, m))}"
    if name == "rotate":
        return f"rotate {geometric} {rng.choice([0, 90, 180, 270, 360, -90, 45, 27, -27, rng.uniform(-400, 400)])!r}"
    if name in ("shear_x", "shear_y"):
        return f"{name} {geometric} {rng.choice([0.3, -0.3, 0.27, rng.uniform(-1, 1)])!r}"
    if name in ("translate_x", "translate_y"):
        return f"{name} {geometric} {rng.choice([1, -3, 0.405 * width, rng.uniform(-height, height)])!r}"
    if name == "turn":
        return f"turn {rng.randint(0, 9)}"
    if name in ("color", "contrast", "brightness", "sharpness"):
        return f"{name} {rng.choice([0, 1, 0.19, 1.81, 0.5, 2, -0.7, rng.uniform(-1, 3), math.pi])!r}"
    if name == "posterize":
        return f"posterize {rng.randint(0, 8)}"
    if name == "solarize":
        return f"solarize {rng.choice([0, 1, 26, 128, 255, 256, rng.randint(0, 256)])}"
    if name == "solarize_add":
        return f"solarize_add {rng.choice([0, 99, 110, 128, rng.randint(0, 255)])} {rng.choice([128, 0, 256, 77])}"
    if name == "blur":
        return f"blur {rng.choice([0, 0.1, 0.5, 1, 2, 3, rng.uniform(0.1, 2), rng.uniform(0, 30), 1000])!r}"
    if name == "jpeg":
        return f"jpeg {rng.choice([95, 75, rng.randint(1, 100)])}"
    return name


def checksum(image):
    channels = len(image.getbands())
    return f"{zlib.crc32(f'{channels} {image.height} {image.width}'.encode() + image.tobytes()):08x}"


def write_operations():
    rng = random.Random(11)
    sizes = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (1, 40), (40, 1), (13, 17), (32, 32), (37, 53), (61, 29), (48, 64)]
    lines = []
    names = sorted(set(random_command(rng, 9, 9).split()[0] for _ in range(2000)))
    for name in names + ["jpeg"]:
        for i in range(400 if name == "resize" else 110):
            channels, (height, width) = rng.choice([1, 3, 3]), sizes[i % len(sizes)]
            kind, seed = rng.choice([0, 0, 1, 1, 2, 3, 4]), rng.randint(0, 99)
            command = random_command(rng, height, width, name)
            result = run(make(channels, height, width, kind, seed), command)
            lines.append(f"{channels} {height} {width} {kind} {seed};{command};{checksum(result)}\n")
    (FOLDER / "operations.txt").write_text("".join(lines))


def write_file(lines, name, data):
    (FOLDER / name).write_bytes(data)
    image = Image.open(io.BytesIO(data))
    native = image.convert("L") if image.mode == "L" else image.convert("RGB")
    for channels, decoded in ((0, native), (1, image.convert("L")), (3, image.convert("RGB"))):
        lines.append(f"{name};{channels};{checksum(decoded)}\n")


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def write_files():
    lines = []
    for (height, width) in ((1, 1), (7, 9), (35, 50), (33, 17)):
        colour, name = make(3, height, width, 1, height), f"{height}x{width}"
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            kind = subsampling.replace(":", "")
            write_file(lines, f"{name}-{kind}.jpg", jpeg(colour, quality=70, subsampling=subsampling))
        write_file(lines, f"{name}-420-progressive.jpg", jpeg(colour, quality=70, progressive=True))
        write_file(lines, f"{name}-grey.jpg", jpeg(make(1, height, width, 1, 5), quality=70))
    colour = make(3, 35, 50, 1, 9)
    write_file(lines, "noise.jpg", jpeg(make(3, 24, 40, 0, 3), quality=30))
    write_file(lines, "rgb.jpg", jpeg(colour, quality=80, keep_rgb=True))
    write_file(lines, "restarts.jpg", jpeg(colour, quality=60, restart_marker_blocks=2))
    write_file(lines, "grey-progressive.jpg", jpeg(make(1, 20, 30, 1, 5), quality=70, progressive=True))
    cmyk = jpeg(Image.merge("CMYK", [make(1, 20, 30, 1, seed) for seed in (3, 90, 200, 333)]), quality=80)
    write_file(lines, "cmyk.jpg", cmyk)
    at = cmyk.index(b"Adobe") + 11  # the colour transform: 2 is YCCK
    write_file(lines, "ycck.jpg", cmyk[:at] + b"\x02" + cmyk[at + 1:])
    (FOLDER / "files.txt").write_text("".join(lines))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_operations()
    write_files()
