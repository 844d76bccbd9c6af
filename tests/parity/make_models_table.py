#!/usr/bin/env python3
"""Writes timm_models.csv, what timm says of every model that we have too; test_models.c compares our variants with it.

Usage: make_models_table.py PROGRAM     the program tells our names (`vistill models --json`)
       make_models_table.py --tensors NAME     timm's "name shape" lines of one model, to be compared with
                                               those of `test_models NAME`
Needs torch and timm; made with torch 2.13 and timm 1.0.31. "tensors" is the CRC-32 of those lines, sorted. Preprocessing is
that of timm's default weights of the name.
"""
import csv
import json
import pathlib
import subprocess
import sys
import zlib

import timm
import torch

TABLE = pathlib.Path(__file__).resolve().parent / "timm_models.csv"


def model_of(name):
    with torch.device("meta"):  # shapes alone
        return timm.create_model(name)


def tensor_lines(model):
    return sorted(f"{name} {'x'.join(map(str, value.shape))}\n" for name, value in model.state_dict().items())


def row(name):
    model = model_of(name)
    config = model.pretrained_cfg
    channels, image, _ = config["input_size"]
    checksum = zlib.crc32("".join(tensor_lines(model)).encode())
    return {"name": name, "parameters": sum(p.numel() for p in model.parameters()), "image": image,
            "channels": channels, "classes": config["num_classes"], "mean": " ".join(map(str, config["mean"])),
            "std": " ".join(map(str, config["std"])), "crop_pct": config["crop_pct"],
            "interpolation": config["interpolation"], "tensors": f"{checksum:08x}"}


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--tensors":
        sys.stdout.writelines(tensor_lines(model_of(sys.argv[2])))
        return
    listed = subprocess.run([sys.argv[1], "models", "--json"], check=True, capture_output=True, text=True).stdout
    rows = [row(m["name"]) for m in json.loads(listed) if timm.is_model(m["name"])]
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
