#!/usr/bin/env python3
"""Writes the files of test_weights.c with PyTorch itself: checkpoints of every form and what must be read from them.

Usage: python3 make_checkpoints.py    (torch and safetensors; made with torch 2.13)

NAME.pth is what torch.save wrote, NAME.expected.safetensors the tensors that a reader must find in it, dense.
"""
import argparse
import collections
import inspect
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent / "checkpoints"


class Scale(nn.Module):
    """A module to save whole; the older form puts its source into the file."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def write(name, saved, **options):
    torch.save(saved, HERE / f"{name}.pth", **options)


def expect(name, tensors):
    save_file({k: t.detach().clone().contiguous() for k, t in tensors.items()}, HERE / f"{name}.expected.safetensors")


def types():
    """Every data type that is supported, a scalar, a tensor without elements, values that other types round."""
    reals = torch.tensor([[0.0, -0.0, 1.0], [-1.5, 3.140625, 6.1e-5], [float("inf"), float("-inf"), 65504.0]])
    state = {name: reals.to(dtype) for name, dtype in (
        ("double", torch.float64), ("float", torch.float32), ("half", torch.float16), ("bfloat16", torch.bfloat16))}
    state["double"] += 1e-12
    for bits, dtype in ((63, torch.int64), (31, torch.int32), (15, torch.int16), (7, torch.int8)):
        state[f"int{bits + 1}"] = torch.tensor([0, 1, -1, 2**bits - 1, -(2**bits)], dtype=dtype)
    state["byte"] = torch.arange(256, dtype=torch.uint8).reshape(2, 128)
    state["bool"] = torch.tensor([True, False, True])
    state["scalar"] = torch.tensor(-7)
    state["empty"] = torch.zeros(0, 5)
    return state


def layouts():
    """Tensors that share storages, of which some are not dense in row-major order."""
    base = torch.arange(24, dtype=torch.float32)
    square = torch.arange(12, dtype=torch.float16).reshape(3, 4)
    weight = nn.Parameter(torch.arange(6, dtype=torch.float64).reshape(2, 3))
    return collections.OrderedDict(
        base=base, row=base[6:12], cube=base.reshape(2, 3, 4), turned=base.reshape(2, 3, 4).permute(2, 0, 1),
        every_second=base[1::2], square=square, transposed=square.T, column=square[:, 1], corner=square[1:, 2:],
        expanded=torch.tensor([[1], [2]], dtype=torch.int32).expand(2, 3), weight=weight, tied=weight,
        buffer=nn.Buffer(torch.ones(1, 1, 2)), one=base[5:6].reshape(1, 1, 1),
        channels_last=torch.arange(16, dtype=torch.float32).reshape(1, 2, 2, 4).to(memory_format=torch.channels_last))


def training():
    """What the training program of DeiT saves, small."""
    model = nn.Sequential(collections.OrderedDict(fc=nn.Linear(2, 3), norm=nn.BatchNorm1d(3)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    ema = collections.OrderedDict((name, t * 0 + 2) for name, t in model.state_dict().items())
    return {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7, "best": 71.25, "scaler": {},
        "lr_scheduler": {"base_values": [1e-3], "metric": None, "initialize": True}, "model_ema": ema,
        "args": argparse.Namespace(model="deit_tiny", lr=5e-4, output=pathlib.PurePosixPath("runs"), seeds={1, 2}),
    }


def main():
    torch.manual_seed(0)
    HERE.mkdir(exist_ok=True)
    for name, saved in (("types", types()), ("layouts", layouts())):
        write(name, saved)
        write(f"{name}_legacy", saved, _use_new_zipfile_serialization=False)
        expect(name, saved)
    write("types_protocol4", types(), pickle_protocol=4)
    write("types_protocol5_legacy", types(), pickle_protocol=5, _use_new_zipfile_serialization=False)
    saved = training()
    write("training", saved)
    write("training_legacy", saved, _use_new_zipfile_serialization=False)
    expect("training_model", saved["model"])
    expect("training_ema", saved["model_ema"])
    write("wrapped", {"state_dict": {f"_orig_mod.module.{name}": t for name, t in saved["model"].items()}})
    write("whole_module", Scale())
    source = inspect.getsourcefile
    inspect.getsourcefile = lambda thing: pathlib.Path(source(thing)).name  # the file is not to tell where it was made
    write("whole_module_legacy", Scale(), _use_new_zipfile_serialization=False)


main()
