"""Writes augment_levels.h: what timm and torchvision make of levels, strings, magnitudes and hues, for test_augment.c.

usage: python tests/unit/make_augment_levels.py     needs timm and torchvision; the header's comment names the versions
"""
import pathlib
import random

import timm
import torchvision
from PIL import Image
from timm.data import auto_augment
from torchvision.transforms import autoaugment, functional

LEVELS = (0, 0.5, 1, 2.5, 3, 4.999, 5, 6, 7.5, 8, 8.77, 9, 9.6, 9.99, 10, 12, 30)
SETS = {"plain": "rand", "inc": "rand-inc1", "tweights": "rand-tweights", "t3a": "rand-t3a", "t3aw": "rand-t3aw"}


def number(value):
    return repr(float(value))


def arguments():
    """Operation, level, sign, argument. The sign is timm's only random number here."""
    for name, function in auto_augment.LEVEL_TO_ARG.items():
        for level in LEVELS:
            for negative in (False, True):
                random.random = lambda: 0.75 if negative else 0.25
                values = function(level, auto_augment._HPARAMS_DEFAULT) if function else ()
                value = number(values[0]) if values else "0"
                yield f'    {{"{name}", {number(level)}, {str(negative).lower()}, {value}, {str(bool(values)).lower()}}},'


def sets():
    """Set, operation, probability of being drawn first."""
    for part, text in SETS.items():
        transform = auto_augment.rand_augment_transform(text)
        weights = transform.choice_weights
        for i, op in enumerate(transform.ops):
            yield f'    {{"{part}", "{op.name}", {number(weights[i] if weights is not None else 1 / len(transform.ops))}}},'


def policies():
    """Policy, sub-policy, step, operation, probability, level."""
    for name in ("original", "originalr", "v0", "v0r", "3a"):
        for i, steps in enumerate(auto_augment.auto_augment_policy(name)):
            for k, op in enumerate(steps):
                yield f'    {{"{name}", {i}, {k}, "{op.name}", {number(op.prob)}, {number(op.magnitude)}}},'


class Caught(Exception):
    pass


def trivial_argument(name, magnitude):
    """The argument in our terms: torchvision's own functions are asked what they would do."""
    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY"):
        def catch(image, matrix, **_):
            raise Caught(matrix)
        saved, functional.F_pil.affine = functional.F_pil.affine, catch
        try:
            autoaugment._apply_op(torchvision.transforms.ToPILImage()(torchvision.torch.zeros(3, 50, 40)), name, magnitude,
                                  functional.InterpolationMode.NEAREST, None)
        except Caught as caught:
            matrix = caught.args[0]
        functional.F_pil.affine = saved
        return matrix[{"ShearX": 1, "ShearY": 3, "TranslateX": 2, "TranslateY": 5}[name]]
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        return 1.0 + magnitude
    return int(magnitude) if name == "Posterize" else magnitude


def trivial():
    """Number of strengths, place of the operation, its name, strength, sign, argument."""
    for bins in (31, 8):
        space = autoaugment.TrivialAugmentWide()._augmentation_space(bins)
        for index, (name, (magnitudes, signed)) in enumerate(space.items()):
            for bin in range(bins if magnitudes.ndim else 1):
                magnitude = float(magnitudes[bin].item()) if magnitudes.ndim else 0.0
                for negative in (False, True):
                    value = trivial_argument(name, magnitude * (-1.0 if negative and signed else 1.0))
                    shown = "" if name == "Identity" else name
                    yield f'    {{{bins}, {index}, "{shown}", {bin}, {str(negative).lower()}, {number(value)}}},'


def hues():
    """Colour, turn, colour after it."""
    generator = random.Random(1)
    for i in range(300):
        most = 255 if i % 2 else 12  # dark colours have few steps of hue
        rgb = tuple(generator.randint(0, most) for _ in range(3))
        if i % 7 == 0:
            rgb = (rgb[0], rgb[0], rgb[i % 3])
        turn = generator.uniform(-0.5, 0.5)
        turned = functional.adjust_hue(Image.new("RGB", (1, 1), rgb), turn).getpixel((0, 0))
        yield f"    {{{{{', '.join(map(str, rgb))}}}, {number(turn)}, {{{', '.join(map(str, turned))}}}}},"


def table(kind, fields, name, rows):
    return f"typedef struct {kind} {{\n{fields}\n}} {kind};\nstatic const {kind} {name}[] = {{\n" + "\n".join(rows) + "\n};\n\n"


out = f"""/* Made by make_augment_levels.py with timm {timm.__version__} and torchvision {torchvision.__version__.split('+')[0]}. */
#include <stdbool.h>

/* clang-format off */
"""
out += table("level_row", "    const char *operation;\n    double level;\n    bool negative;\n    double argument;\n    bool has_argument;",
             "level_rows", arguments())
out += table("set_row", "    const char *set, *operation;\n    double share;", "set_rows", sets())
out += table("policy_row", "    const char *policy;\n    int index, step;\n    const char *operation;\n    double probability, level;",
             "policy_rows", policies())
out += table("trivial_row", "    int bins, index;\n    const char *operation;\n    int bin;\n    bool negative;\n    double argument;",
             "trivial_rows", trivial())
out += table("hue_row", "    unsigned char before[3];\n    double turn;\n    unsigned char after[3];", "hue_rows", hues())
pathlib.Path(__file__).with_name("augment_levels.h").write_text(out.rstrip() + "\n/* clang-format on */\n")
