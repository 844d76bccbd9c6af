"""Weights of timm and torchvision through `vistill import` and `vistill export` and back into timm; run by test_timm_import.sh.

usage: timm_import.py VISTILL FOLDER
"""
import pathlib
import subprocess
import sys

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

VISTILL, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
failures = 0


def check(name, good, detail=""):
    global failures
    failures += not good
    print(f"{'ok    ' if good else 'FAILED'}  {name}  {detail}", flush=True)


def vistill(*arguments, code=0):
    done = subprocess.run([VISTILL, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != code:
        check("vistill " + " ".join(map(str, arguments)), False, f"exit code {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def randomise(model):
    """All values random, so that none can stand in for another; variances positive."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.normal_(0, 0.05)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
            elif value.ndim == 1 and name.endswith("weight"):
                value.add_(1)
        else:
            value.fill_(123)
    return model.eval()


def there_and_back(path, model, *options, name=None, **create):
    """The file, imported as `model` (None: recognised) and exported, as timm loads it; and the exported tensors."""
    ours, out = FOLDER / "model.safetensors", FOLDER / "out.safetensors"
    ours.unlink(missing_ok=True)
    out.unlink(missing_ok=True)
    vistill("import", path, *(["--model", model] if model else []), "-o", ours, *options)
    vistill("export", ours, "-o", out, "--format", "safetensors")
    return timm.create_model(model or name, checkpoint_path=str(out), **create).eval(), load_file(out)


@torch.inference_mode()
def difference(a, b, size):
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    x, y = a(image), b(image)
    if isinstance(x, tuple):
        x, y = torch.cat(x), torch.cat(y)
    return ((x - y).abs().max() / y.abs().max()).item()


def compare(name, got, wanted, limit=1e-6, size=224):
    value = difference(got, wanted, size)
    check(name, value <= limit, f"largest difference {value:.2g} of the largest logit")


def write(value, file="w.pth", **options):
    torch.save(value, FOLDER / file, **options)
    return FOLDER / file


def wrappings(name):
    model = randomise(timm.create_model(name))
    state = model.state_dict()
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    brain = {key: value.bfloat16() if value.is_floating_point() else value for key, value in state.items()}
    save_file(state, FOLDER / "w.safetensors")
    exact = [("state dict", write(state)), ("safetensors", FOLDER / "w.safetensors"),
             ("{'model': …}", write({"model": state, "epoch": 7, "optimizer": {"state": {}}}, "model.pth")),
             ("module.", write({"state_dict": {"module." + k: v for k, v in state.items()}, "arch": name}, "module.pth")),
             ("state_dict_ema", write({"state_dict": other, "state_dict_ema": state}, "ema.pth")),
             ("before PyTorch 1.6", write(state, "old.pth", _use_new_zipfile_serialization=False)),
             ("double", write({k: v.double() if v.is_floating_point() else v for k, v in state.items()}, "double.pth"))]
    for title, path in exact:
        got, tensors = there_and_back(path, name)
        compare(f"{name}, {title}", got, model)
        check(f"{name}, {title}: same tensors", tensors.keys() == state.keys() and
              all(torch.equal(tensors[key], state[key]) for key in state))
    for title, values in (("half", half), ("bfloat16", brain)):
        rounded = timm.create_model(name).eval()
        rounded.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in values.items()})
        got, _ = there_and_back(write(values, title + ".pth"), name)
        compare(f"{name}, {title}", got, rounded)


def resizing():
    name = "deit_tiny_patch16_224"
    model = randomise(timm.create_model(name))
    path, embedding = write({"model": model.state_dict()}), model.pos_embed.detach()
    for size in (384, 112):
        side = size // 16
        wanted = timm.create_model(name, img_size=size).eval()
        state = dict(model.state_dict())
        state["pos_embed"] = resample_abs_pos_embed(embedding, [side, side], num_prefix_tokens=1)
        wanted.load_state_dict(state)
        got, tensors = there_and_back(path, name, "--set", f"image={size}", img_size=size)
        value = (tensors["pos_embed"] - state["pos_embed"]).abs().max().item()
        check(f"{name} at {size} pixels: position embedding as timm's", value <= 1e-6, f"largest difference {value:.2g}")
        compare(f"{name} at {size} pixels", got, wanted, 1e-5, size)
        grid = embedding[:, 1:].reshape(1, 14, 14, 192).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
        plain = torch.cat([embedding[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
        _, tensors = there_and_back(path, name, "--set", f"image={size}", "--no-antialias", img_size=size)
        value = (tensors["pos_embed"] - plain).abs().max().item()
        check(f"{name} at {size} pixels: position embedding as DeiT's", value <= 1e-6, f"largest difference {value:.2g}")


def recognising():
    model = randomise(timm.create_model("resnet18"))
    got, _ = there_and_back(write(model.state_dict()), None, name="resnet18")
    compare("resnet18, recognised", got, model)
    path = write(timm.create_model("deit_tiny_patch16_224").state_dict())
    text = vistill("import", path, "-o", FOLDER / "none.safetensors", code=1)
    check("deit_tiny, ambiguous", "deit_tiny_patch16_224, vit_tiny_patch16_224" in text, text.strip())
    text = vistill("import", path, "--model", "deit_tiny_distilled_patch16_224", "-o", FOLDER / "none.safetensors", code=1)
    check("deit_tiny as distilled", "the model has a distillation token and the file has none" in text)


def classifiers():
    name = "deit_tiny_distilled_patch16_224"
    model = randomise(timm.create_model(name, num_classes=10))
    path = write(model.state_dict())
    got, _ = there_and_back(path, name, "--set", "classes=10", num_classes=10)
    compare(f"{name}, 10 classes", got, model)
    text = vistill("import", path, "--model", name, "-o", FOLDER / "none.safetensors", code=1)
    check(f"{name}: number of classes", "--set classes=10" in text and "--reset-head" in text)
    got, tensors = there_and_back(path, name, "--set", "classes=5", "--reset-head", num_classes=5)
    state = model.state_dict()
    check(f"{name}: fresh classifiers", all(torch.equal(tensors[key], state[key]) for key in state if "head" not in key) and
          tensors["head_dist.weight"].std().sub(0.02).abs().item() < 0.003)


def from_torchvision():
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        print("skipped: torchvision:", error)
        return
    pairs = [("resnet18", "resnet18", models.resnet18), ("regnet_y_400mf", "regnety_004", models.regnet_y_400mf),
             ("mobilenet_v2", "mobilenetv2_100", models.mobilenet_v2),
             ("VisionTransformer", "vit_tiny_patch16_224", lambda: models.VisionTransformer(224, 16, 12, 3, 192, 768))]
    for title, name, make in pairs:
        model = randomise(make())
        got, _ = there_and_back(write(model.state_dict()), name)
        compare(f"torchvision's {title}", got, model, 1e-4)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(2)
    for name in ("resnet18", "deit_tiny_patch16_224"):
        wrappings(name)
    resizing()
    recognising()
    classifiers()
    from_torchvision()
    print(f"{failures} failures with torch {torch.__version__}, timm {timm.__version__}")
    sys.exit(failures > 0)


main()
