"""Weights of timm, torchvision and transformers through `vistill import` and `vistill export` and back into timm; run by test_timm_import.sh.

usage: timm_import.py VISTILL FOLDER
"""
import json
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
    got, _ = there_and_back(path, name, num_classes=10)
    compare(f"{name}, 10 classes found", got, model)
    text = vistill("import", path, "--model", name, "--set", "classes=7", "-o", FOLDER / "none.safetensors", code=1)
    check(f"{name}: number of classes", "--set classes=10" in text and "--reset-head" in text)
    got, tensors = there_and_back(path, name, "--set", "classes=5", "--reset-head", num_classes=5)
    state = model.state_dict()
    check(f"{name}: fresh classifiers", all(torch.equal(tensors[key], state[key]) for key in state if "head" not in key) and
          tensors["head_dist.weight"].std().sub(0.02).abs().item() < 0.003)


def our_view(path):
    """Size, crop, filter, mean and std of a model file."""
    info = json.loads(vistill("info", path, "--json"))
    view, size = info["preprocessing"], info["input"][1]
    return [int(size / view["crop_pct"] + 1e-9), size, view["interpolation"], view["mean"], view["std"]]


def from_torchvision():
    """Logits of every architecture that is here, and preprocessing of every version of weights that there is."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        print("skipped: torchvision:", error)
        return
    names = {"resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "resnet101": "resnet101",
             "resnet152": "resnet152", "regnet_y_400mf": "regnety_004", "regnet_y_800mf": "regnety_008",
             "regnet_y_1_6gf": "regnety_016", "regnet_y_3_2gf": "regnety_032", "regnet_y_8gf": "regnety_080",
             "regnet_y_16gf": "regnety_160", "mobilenet_v2": "mobilenetv2_100", "efficientnet_b0": "efficientnet_b0",
             "efficientnet_b1": "efficientnet_b1", "efficientnet_b2": "efficientnet_b2", "efficientnet_b3": "efficientnet_b3",
             "convnext_tiny": "convnext_tiny", "convnext_small": "convnext_small", "vit_b_16": "vit_base_patch16_224"}
    with_logits = {"resnet18", "regnet_y_400mf", "mobilenet_v2", "efficientnet_b0", "convnext_tiny"}
    for theirs, ours in names.items():
        for version in models.get_model_weights(theirs):
            make = models.get_model_builder(theirs)
            options = {"image_size": 384} if theirs == "vit_b_16" and "E2E" in version.name else {}
            model, transforms = randomise(make(**options)), version.transforms()
            path = write(model.state_dict(), version.url.split("/")[-1])
            vistill("import", path, "--model", ours, "-o", FOLDER / "model.safetensors")
            path.unlink()
            wanted = [transforms.resize_size[0], transforms.crop_size[0], transforms.interpolation.value, transforms.mean,
                      transforms.std]
            got = our_view(FOLDER / "model.safetensors")
            check(f"torchvision's {theirs} {version.name}: images", got == wanted, f"{got} for {wanted}")
        if theirs in with_logits:
            got, _ = there_and_back(write(model.state_dict()), ours)
            compare(f"torchvision's {theirs}", got, model, 1e-4)
        elif theirs in ("regnet_y_800mf", "regnet_y_8gf"):
            text = vistill("info", FOLDER / "model.safetensors")
            check(f"torchvision's {theirs} has other widths than timm's", "rounding=up" in text)
    model = randomise(models.VisionTransformer(224, 16, 12, 3, 192, 768))
    got, _ = there_and_back(write(model.state_dict()), "vit_tiny_patch16_224")
    compare("torchvision's VisionTransformer", got, model, 1e-4)


def from_transformers():
    """Hugging Face's models in both naming schemes; timm answers with another epsilon, which random weights show little."""
    try:
        import transformers
    except ImportError as error:
        print("skipped: transformers:", error)
        return
    sizes = dict(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768, num_labels=1000)
    pairs = [("vit_tiny_patch16_224", transformers.ViTForImageClassification, transformers.ViTConfig),
             ("deit_tiny_distilled_patch16_224", transformers.DeiTForImageClassificationWithTeacher, transformers.DeiTConfig)]
    for name, cls, config in pairs:
        model = randomise(cls(config(**sizes)))
        model.save_pretrained(FOLDER / "hub")
        image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            wanted = model(image).logits
        for scheme, path in (("file", FOLDER / "hub" / "model.safetensors"), ("modules", write(model.state_dict()))):
            got, _ = there_and_back(path, name)
            with torch.inference_mode():
                value = ((got(image) - wanted).abs().max() / wanted.abs().max()).item()
            check(f"transformers' {name}, names of the {scheme}", value <= 1e-4, f"largest difference {value:.2g}")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(2)
    for name in ("resnet18", "deit_tiny_patch16_224"):
        wrappings(name)
    resizing()
    recognising()
    classifiers()
    from_torchvision()
    from_transformers()
    print(f"{failures} failures with torch {torch.__version__}, timm {timm.__version__}")
    sys.exit(failures > 0)


main()
