"""Compares the image operations of `test_pixels --serve` with Pillow's, bit by bit; run by test_pillow.sh.

usage: pillow.py TEST_PIXELS [PHOTOS.tar]           pillow.py --speed TEST_PIXELS PHOTOS.tar
With --speed it measures instead: how many times faster than Pillow, one thread each, the best of several runs each.
"""
import io
import pathlib
import random
import struct
import subprocess
import sys
import tarfile
import time
import zlib

import PIL
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "unit"))
import make_pixels  # noqa: E402


class Server:
    """The other side of tests/unit/pixel_server.h."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request, data=b""):
        self.process.stdin.write(request.encode() + b"\n" + data)
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().rstrip("\n")

    def command(self, request, data=b""):
        answer = self.ask(request, data)
        if answer != "ok":
            raise AssertionError(f"{request}: {answer}")

    def put(self, image):
        self.command(f"image {len(image.getbands())} {image.height} {image.width}", image.tobytes())

    def get(self):
        channels, height, width = map(int, self.ask("get").split())
        data = self.process.stdout.read(channels * height * width)
        return Image.frombytes("RGB" if channels == 3 else "L", (width, height), data)


def same(ours, theirs, what):
    if ours.mode == theirs.mode and ours.size == theirs.size and ours.tobytes() == theirs.tobytes():
        return True
    print(f"FAILED: {what}: {ours.mode} {ours.size} differs from Pillow's {theirs.mode} {theirs.size}")
    return False


def compare_operation(server, image, command, what):
    server.put(image)
    server.command(f"run {command}")
    return same(server.get(), make_pixels.run(image, command), f"{what}: {command}")


def compare_decode(server, data, rng, what):
    image = Image.open(io.BytesIO(data))
    fine = True
    for channels, mode in ((1, "L"), (3, "RGB")):
        expected = image.convert(mode)
        server.command(f"decode {len(data)} {channels}", data)
        fine &= same(server.get(), expected, f"{what} as {mode}")
        h, w = rng.randint(1, image.height), rng.randint(1, image.width)
        t, l = rng.randint(0, image.height - h), rng.randint(0, image.width - w)
        server.command(f"decode {len(data)} {channels} {t} {l} {h} {w}", data)
        fine &= same(server.get(), expected.crop((l, t, l + w, t + h)), f"{what} as {mode}, {h} x {w} at {t}, {l}")
    return fine


def random_image(rng):
    side = lambda: rng.choice([1, 2, 3, 5, 31, 32, 33, 97, 101, rng.randint(1, 300)])
    channels, height, width = rng.choice([1, 3]), side(), side()
    noise = rng.randbytes(channels * height * width)
    image = Image.frombytes("RGB" if channels == 3 else "L", (width, height), noise)
    if rng.random() < 0.5:  # smooth
        small = image.resize((max(1, width // 8), max(1, height // 8)))
        image = small.resize((width, height), Image.BICUBIC)
    if rng.random() < 0.3:
        image = image.point(lambda v: v // 3 + 40)
    return image


def random_file(rng, image):
    out = io.BytesIO()
    if rng.random() < 0.2:
        image = rng.choice([image, image.convert("P"), image.convert("RGBA"), image.convert("LA"), image.convert("1")])
        image.save(out, "PNG")
    else:
        if rng.random() < 0.15:
            image = image.convert("CMYK")
        image.save(out, "JPEG", quality=rng.randint(5, 100), subsampling=rng.randint(0, 2), progressive=rng.random() < 0.3,
                   optimize=rng.random() < 0.3, restart_marker_blocks=rng.choice([0, 0, 1, 7]))
    return out.getvalue()


def photos_of(path):
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and member.name.lower().endswith((".jpg", ".jpeg", ".png")):
                yield member.name, tar.extractfile(member).read()


def sweep(server, photos):
    rng, fine, count = random.Random(29), True, 0
    for i in range(4000):
        image = random_image(rng)
        fine &= compare_operation(server, image, make_pixels.random_command(rng, image.height, image.width),
                                  f"{image.mode} {image.height} x {image.width}")
        if i % 4 == 0:
            fine &= compare_decode(server, random_file(rng, image), rng, f"generated file {i}")
            command = make_pixels.random_command(rng, image.height, image.width, "jpeg")
            fine &= compare_operation(server, image, command, f"{image.mode} {image.height} x {image.width}")
    for name, data in photos_of(photos) if photos else ():
        fine &= compare_decode(server, data, rng, name)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for command in ("resize bicubic 224 224", f"{make_pixels.random_command(rng, image.height, image.width)}"):
            fine &= compare_operation(server, image, command, name)
        count += 1
    print(f"Pillow {PIL.__version__}: 4000 operations, 1000 files read, 1000 written and {count} photographs:",
          "the same bits" if fine else "see above")
    return fine


def png_file(rng):
    """With its IDAT in parts, and chunks of text behind it."""
    out = io.BytesIO()
    image = random_image(rng).crop((0, 0, rng.randint(1, 40), rng.randint(1, 40)))
    rng.choice([image, image.convert("P"), image.convert("RGBA")]).save(out, "PNG", compress_level=rng.randint(0, 9))
    data = out.getvalue()
    at = data.index(b"IDAT") - 4
    packed, end = data[at + 8:-16], data[-12:]
    part = rng.choice([1, 3, 7, 100, 1 << 20])
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    text = rng.choice([b"", chunk(b"tEXt", b"k\0" + b"v" * rng.randint(0, 9)), chunk(b"abCd", b"12345") + chunk(b"IDAT", b"xyz")])
    return data[:at] + b"".join(chunk(b"IDAT", packed[i:i + part]) for i in range(0, len(packed), part)) + text + end


def compare_cut(server, data, what):
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        expected = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        expected = None
    answer = server.ask(f"decode {len(data)} 3", data)
    if expected is None or answer != "ok":
        fine = (expected is None) == (answer != "ok")
        if not fine:
            print(f"FAILED: {what}: {answer}, Pillow {'refuses it' if expected is None else 'takes it'}")
        return fine
    return same(server.get(), expected, what)


def sweep_cuts(server):
    rng, fine, count = random.Random(31), True, 0
    for i in range(120):
        data = png_file(rng)
        cuts = set(range(min(70, len(data) - 50))) | {rng.randrange(len(data) - 50) for _ in range(30)}
        for cut in sorted(cuts):
            fine &= compare_cut(server, data[:len(data) - cut], f"PNG {i} without its last {cut} bytes")
            count += 1
    print(f"{count} PNG files that are cut off:", "as Pillow takes or refuses them" if fine else "see above")
    return fine


def best_time(function, repeats):
    best = 1e9
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def measure_decode(server, photos):
    """Whole files, each the best of 5."""
    ours = theirs = 0
    for _, data in photos:
        ours += float(server.ask(f"time_decode 5 {len(data)}", data))
        theirs += best_time(lambda: Image.open(io.BytesIO(data)).convert("RGB"), 5)
    count = len(photos)
    print(f"decode {count} photographs: {1e3 * ours / count:.2f} ms each, Pillow {1e3 * theirs / count:.2f} ms: "
          f"{theirs / ours:.2f} times as fast")


def measure_operations(server, photos):
    image = Image.open(io.BytesIO(max(photos, key=lambda p: len(p[1]))[1])).convert("RGB").resize((500, 375), Image.BICUBIC)
    for name in ("bilinear", "bicubic", "lanczos"):
        measure(server, image, f"resize {name} 224 224")
    measure(server, image.resize((300, 280)), "resize bicubic 224 224")
    measure(server, image.convert("L"), "resize bicubic 224 224")
    small = image.resize((224, 224), Image.BICUBIC)
    for command in ("autocontrast", "equalize", "invert", "rotate bicubic 27.0", "rotate bilinear 27.0", "rotate nearest 27.0",
                    "posterize 1", "solarize 26", "solarize_add 99 128", "color 1.81", "contrast 1.81", "brightness 1.81",
                    "sharpness 1.81", "shear_x bicubic 0.27", "shear_y bicubic 0.27", "translate_x bicubic 90.72",
                    "translate_y bicubic 90.72", "grayscale", "blur 1.05", "flip"):
        measure(server, small, command)


def measure(server, image, command):
    make_pixels.run(image, command)  # what it imports
    server.put(image)
    ours = float(server.ask(f"time 30 {command}"))
    theirs = best_time(lambda: make_pixels.run(image, command), 30)
    print(f"{command} of {image.height} x {image.width} {image.mode}: {1e6 * ours:.0f} us, Pillow {1e6 * theirs:.0f} us: "
          f"{theirs / ours:.1f} times as fast")


if __name__ == "__main__":
    if sys.argv[1] == "--speed":
        files = list(photos_of(sys.argv[3]))
        server = Server(sys.argv[2])
        measure_decode(server, files)
        measure_operations(server, files)
    else:
        server = Server(sys.argv[1])
        cuts = sweep_cuts(server)
        sys.exit(not (sweep(server, sys.argv[2] if len(sys.argv) > 2 else None) and cuts))
