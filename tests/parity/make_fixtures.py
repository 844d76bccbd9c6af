#!/usr/bin/env python3
"""Writes the fixtures of test_parity.c with PyTorch and timm: weights, inputs and what they should give.

Usage: make_fixtures.py [NAME…]                       committed cases of cases.json (or all) into this folder
       make_fixtures.py --sensitivity [NAME…]         sensitivity.json alone, of the committed files
       make_fixtures.py --full-size FOLDER NAME…      cases that are not committed, into FOLDER
       make_fixtures.py --list                        names of the cases that are not committed
Needs torch, timm, numpy and safetensors; made with torch 2.13 and timm 1.0.31.

A case says how we make the model (`variant`, `options`) and how Python does: `timm`, a name for timm.create_model, or
`make`, a class or function of this file, with `arguments`; `image` is (C, H, W), else what timm's model was trained on.
Weights and inputs are float32; everything expected is computed in float64 from them and then rounded, so that the test
measures the engine's error alone. NAME.weights.safetensors is a state dict with timm's names, NAME.expected.safetensors
holds the rest: inputs, logits, losses, "gradient.*", "state.*" (running statistics after one step) and "curve" (losses of
ten steps). A full-size case has inputs and logits of inference only.

sensitivity.json says how much rounding moves "curve": for each step the largest deviation up to there, relative to the loss,
of RUNS curves in double with noise on the output of every layer and on its gradient. Training amplifies rounding: batch
norms of few values do, and where a ReLU's input moves over zero its gradient jumps. Weights disturbed at the start alone are
not enough, since each step rounds anew. ROUNDING is 16 times float32's unit: so far are kernels for old processors off,
which add up thousands of values one after the other. A seed whose curve such noise moves by more than SENSITIVITY_MOST is
refused: its later limits would hang on single ReLUs, and be too wide to find anything.
"""
import argparse
import json
import pathlib
from functools import partial

import timm
import timm.layers
import timm.models.efficientnet as mobile
import timm.models.resnet
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models.deit import VisionTransformerDistilled  # noqa: F401 (named in cases.json)
from timm.models.vision_transformer import VisionTransformer  # noqa: F401
from torch import nn

from cct import CCT  # noqa: F401

HERE = pathlib.Path(__file__).resolve().parent
BATCH, FULL_BATCH, CLASSES, STEPS = 8, 2, 10, 10
MARGIN = 1e-5
RUNS, ROUNDING, SENSITIVITY_MOST = 32, 2.0**-20, 2.5e-5
margins = []  # how near the inputs of each call of an activation or max pool came to a kink


class BasicBlock(nn.Module):
    """timm's BasicBlock, with its names. pad: the shortcut is He et al.'s option A, as akamaster writes it."""

    def __init__(self, inside, out, stride, pad):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.downsample = None
        if stride != 1 and pad:
            self.downsample = lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, out // 4, out // 4))
        elif stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(y)) + shortcut)


class ResNetCifar(nn.Module):
    """He et al., 2016, section 4.2, with timm's names."""

    def __init__(self, blocks, width, channels, pad=False):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        inside = width
        for stage in range(3):
            out = width << stage
            layers = []
            for i in range(blocks):
                layers.append(BasicBlock(inside, out, 2 if stage and i == 0 else 1, pad))
                inside = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inside, CLASSES)

    def forward(self, x):
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def resnet(block, **arguments):
    return timm.models.resnet.ResNet(getattr(timm.models.resnet, block), num_classes=CLASSES, **arguments)


def efficientnet(blocks, activation="silu", bn={}, **arguments):
    """timm's EfficientNet class, which MobileNetV2 is made of too, of `blocks` in timm's notation."""
    return mobile.EfficientNet(mobile.decode_arch_def([[b] for b in blocks]), num_classes=CLASSES,
                               round_chs_fn=mobile.round_channels, act_layer=timm.layers.get_act_layer(activation),
                               norm_layer=partial(nn.BatchNorm2d, **bn), **arguments)


def make_model(case):
    arguments = case.get("arguments", {})
    return timm.create_model(case["timm"], **arguments) if "timm" in case else globals()[case["make"]](**arguments)


def image_shape(case, model):
    return case["image"] if "image" in case else model.pretrained_cfg["input_size"]


def awaken(model):
    """No parameter stays at a value that hides a mistake: biases leave 0, scales leave 1."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.mul_(0.5 + torch.rand_like(value))
            elif value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))


def awaken_deep(model, image):
    """The same for a model so deep that noise on its weights would grow without bound: they stay as timm made them, and
    the running statistics become those of the image, layer by layer, disturbed."""

    def calibrate(norm, inputs):
        x = inputs[0]
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        norm.running_mean.copy_(mean + 0.2 * var.sqrt() * torch.randn_like(mean))
        norm.running_var.copy_(var * (0.5 + torch.rand_like(var)))

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim < 2 or name.endswith(("token", "pos_embed")):
                value.add_(0.1 * torch.randn_like(value))
        for norm in norms:
            norm.weight.add_(0.5 * (norm.weight.abs() < 0.5))  # scales that timm begins with 0
        hooks = [norm.register_forward_pre_hook(calibrate) for norm in norms]
        model.eval()(image)
    for hook in hooks:
        hook.remove()


def soft_targets():
    """Mixed, smoothed labels as mixup gives them."""
    one_hot = F.one_hot(torch.randint(CLASSES, (BATCH,)), CLASSES).float()
    mixed = 0.7 * one_hot + 0.3 * one_hot.flip(0)
    return 0.9 * mixed + 0.1 / CLASSES


def watch_kinks(model):
    """Notes how near an input comes to where a derivative jumps."""

    def relu(module, inputs):
        x = inputs[0].detach()
        margins.append(x.abs().min().item())
        if isinstance(module, nn.ReLU6):
            margins.append((x - 6).abs().min().item())

    def max_pool(module, inputs):
        x = F.pad(inputs[0].detach(), [module.padding] * 4, value=-1e9)
        for side in (2, 3):
            x = x.unfold(side, module.kernel_size, module.stride)
        best, second = x.flatten(4).topk(2, dim=-1).values.unbind(-1)
        if (best > 0).any():  # equal zeros come from ReLU, which lets no gradient through to any of them
            margins.append((best - second)[best > 0].min().item())

    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.register_forward_pre_hook(relu)
        elif isinstance(module, nn.MaxPool2d):
            module.register_forward_pre_hook(max_pool)


def cross_entropy(logits, target):
    """timm's SoftTargetCrossEntropy."""
    return (-target * F.log_softmax(logits, dim=-1)).sum(-1).mean()


def distillation(kind, outputs, target, teacher, alpha, temperature):
    """DistillationLoss of facebookresearch/deit's losses.py, and the textbook's division by the batch alone."""
    logits, logits_dist = outputs
    base = cross_entropy(logits, target)
    if kind == "hard":
        term = F.cross_entropy(logits_dist, teacher.argmax(dim=1))
    else:
        total = F.kl_div(F.log_softmax(logits_dist / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1),
                         reduction="sum", log_target=True) * temperature**2
        term = total / (logits_dist.numel() if kind == "elements" else len(logits_dist))
    return base * (1 - alpha) + term * alpha


def groups(model, decay):
    """timm's parameter groups: no weight decay on vectors, position embedding and tokens."""
    without = getattr(model, "no_weight_decay", set)()
    trained = list(model.named_parameters())
    return [{"params": [p for n, p in trained if p.ndim > 1 and n not in without], "weight_decay": decay},
            {"params": [p for n, p in trained if p.ndim <= 1 or n in without], "weight_decay": 0.0}]


def make_optimizer(model, options):
    parameters, rate = groups(model, options["weight_decay"]), options["rate"]
    if options["kind"] == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.999), eps=1e-8)


def curve(model, optimizer, loss_of):
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def save(folder, name, weights, expected):
    rounded = {k: v.detach().to(torch.float32).contiguous() for k, v in expected.items()}
    for part, tensors in (("weights", weights), ("expected", rounded)):
        path = folder / f"{name}.{part}.safetensors"
        save_file(tensors, path)
        path.chmod(0o644)


def gradients(model):
    return {f"gradient.{name}": value.grad.clone() for name, value in model.named_parameters()}


def copy(weights):
    return {k: v.clone() for k, v in weights.items()}


def trained_loss(expected):
    """The loss of the curve, of a model's outputs."""
    target, teacher = (expected[k].double() if k in expected else None for k in ("target", "teacher"))
    if teacher is None:
        return lambda outputs: cross_entropy(outputs, target)
    return lambda outputs: distillation("hard", outputs, target, teacher, alpha=0.5, temperature=1.0)


def add_rounding(model):
    """From now on outputs of layers with parameters, and gradients of them, are as if computed in a short format."""

    def disturb(value):
        return value + ROUNDING * value.detach().square().mean().sqrt() * torch.randn_like(value)

    def hook(layer, inputs, output):
        output = disturb(output)
        if output.requires_grad:
            output.register_hook(disturb)
        return output

    for layer in model.modules():
        if not list(layer.children()) and list(layer.parameters()):
            layer.register_forward_hook(hook)


def rounded_curve(case, weights, expected, seed):
    torch.manual_seed(seed)
    model = make_model(case)
    if "teacher" in expected:
        model.set_distilled_training(True)
    model.load_state_dict(weights)
    model.double().train()
    add_rounding(model)
    x, loss_of = expected["image"].double(), trained_loss(expected)
    return curve(model, make_optimizer(model, case["optimizer"]), lambda: loss_of(model(x)))


def sensitivity(case, weights, expected):
    """Of each step; None if rounding moves the curve too far."""
    want = expected["curve"].double()
    largest = torch.zeros(STEPS, dtype=torch.float64)
    for seed in range(RUNS):
        largest = torch.maximum(largest, (rounded_curve(case, weights, expected, seed) - want).abs() / want)
        if largest.max() > SENSITIVITY_MOST:
            return None
    return largest.cummax(0).values.tolist()


def save_sensitivity(name, moved):
    path = HERE / "sensitivity.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    table[name] = [float(f"{value:.1e}") for value in moved]
    lines = [f'  "{key}": {json.dumps(table[key])}' for key in sorted(table)]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{name}: rounding moves the curve by up to {moved[-1]:.1e}", flush=True)


def remake_sensitivity(case):
    name = case["name"]
    moved = sensitivity(case, *(load_file(HERE / f"{name}.{part}.safetensors") for part in ("weights", "expected")))
    if not moved:
        raise SystemExit(f"{name}: rounding moves the curve too far; make the case anew")
    save_sensitivity(name, moved)


def try_case(case, seed):
    """A value so near to a kink that rounding decides which gradient it gets would make the first step a matter of luck,
    and a curve that rounding moves far the later ones: False for such a seed."""
    torch.manual_seed(seed)
    model = make_model(case)
    watch_kinks(model)
    distilled = hasattr(model, "set_distilled_training")
    if distilled:
        model.set_distilled_training(True)
    awaken(model)
    weights = copy(model.state_dict())
    expected = {"image": torch.rand(BATCH, *image_shape(case, model)), "target": soft_targets()}
    if distilled:
        expected["teacher"] = 3 * torch.randn(BATCH, CLASSES)
    model.double()
    x, t, z = (expected[k].double() if k in expected else None for k in ("image", "target", "teacher"))
    loss_of = trained_loss(expected)
    expected["logits_eval"] = model.eval()(x)
    margins.clear()
    outputs = model.train()(x)
    if min(margins, default=1) < MARGIN:
        return False
    if distilled:
        expected |= dict(zip(("logits", "logits_dist"), outputs))
        for kind in ("elements", "batchmean"):
            expected[f"loss_{kind}"] = distillation(kind, outputs, t, z, alpha=0.1, temperature=3.0)
    else:
        expected["logits"] = outputs
    loss = loss_of(outputs)
    loss.backward()
    expected |= {"loss": loss} | gradients(model)
    expected |= {f"state.{n}": v.clone() for n, v in model.named_buffers() if v.is_floating_point()}
    model.load_state_dict(weights)
    expected["curve"] = curve(model, make_optimizer(model, case["optimizer"]), lambda: loss_of(model(x)))
    moved = sensitivity(case, weights, expected)
    if not moved:
        return False
    save(HERE, case["name"], weights, expected)
    save_sensitivity(case["name"], moved)
    print(f"{case['name']}: seed {seed}, loss {expected['curve'][0]:.3f} to {expected['curve'][-1]:.3f}")
    return True


def make_small(case):
    seed = case["seed"]
    while not try_case(case, seed):
        seed += 1


def make_full_size(case, folder):
    torch.manual_seed(case["seed"])
    model = make_model(case)
    image = torch.rand(FULL_BATCH, *image_shape(case, model))
    mean, std = (torch.tensor(model.pretrained_cfg[k]).double().reshape(-1, 1, 1) for k in ("mean", "std"))
    x = (image.double() - mean) / std  # our variants have this in their graph
    awaken_deep(model, x.float())
    weights = copy(model.state_dict())
    with torch.no_grad():
        logits = model.eval().double()(x)
    save(folder, case["name"], weights, {"image": image, "logits_eval": logits})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--full-size", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    cases = json.loads((HERE / "cases.json").read_text())
    wanted = [c for c in cases if c["committed"] == (not (options.list or options.full_size))]
    unknown = set(options.names) - {c["name"] for c in wanted}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    for case in wanted:
        if options.names and case["name"] not in options.names:
            continue
        if options.list:
            print(case["name"])
        elif options.full_size:
            make_full_size(case, options.full_size)
        elif options.sensitivity:
            remake_sensitivity(case)
        else:
            make_small(case)


if __name__ == "__main__":
    main()
