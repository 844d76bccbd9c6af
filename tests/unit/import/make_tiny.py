"""Makes tiny.pth and tiny.safetensors for test_import_export.sh: a ViT of 8 pixels, one block and two classes.

tiny.pth is a training checkpoint as facebookresearch/deit writes them: the model as DistributedDataParallel names it, its
average in half precision, and an argparse.Namespace. tiny.safetensors has the values of the average.
usage: python make_tiny.py (PyTorch, timm, safetensors)
"""
import argparse
import pathlib

import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

here = pathlib.Path(__file__).parent
torch.manual_seed(0)
model = VisionTransformer(img_size=8, patch_size=4, in_chans=1, num_classes=2, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2)
weights = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
average = {name: (value * 0.5).half() for name, value in weights.items()}
torch.save({"model": {"module." + name: value for name, value in weights.items()}, "model_ema": average, "epoch": 3,
            "args": argparse.Namespace(lr=5e-4)}, here / "tiny.pth")
save_file({name: value.float() for name, value in average.items()}, here / "tiny.safetensors")
