"""Makes the transformers-*.safetensors files for test_import.c: Hugging Face's ViT and DeiT, 8 pixels, two blocks.

Each has the tensors of a checkpoint, an image and the logits that transformers gives for it ("test.image" and "test.logits",
beside the model's names). The names are those of files (save_pretrained) or those of the modules (state_dict; since
transformers 5 they differ). The values are random, large enough for every part of the model to matter.
usage: python make_transformers.py (PyTorch, transformers 5, safetensors)
"""
import pathlib
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (DeiTConfig, DeiTForImageClassificationWithTeacher, ViTConfig,
                          ViTForImageClassification)

here = pathlib.Path(__file__).parent
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4,
             num_channels=1, num_labels=3)
torch.manual_seed(0)


@torch.inference_mode()
def make(name, model, modules=False):
    for parameter in model.parameters():
        parameter.normal_(0, 0.4)
    model.eval()
    image = torch.rand(2, 1, 8, 8)
    if modules:
        state = model.state_dict()
    else:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            state = load_file(pathlib.Path(folder) / "model.safetensors")
    state = {key: value.contiguous() for key, value in state.items()}
    save_file({**state, "test.image": image, "test.logits": model(image).logits}, here / f"transformers-{name}.safetensors")


make("vit", ViTForImageClassification(ViTConfig(**SIZES)))
make("vit-modules", ViTForImageClassification(ViTConfig(**SIZES)), modules=True)
make("deit", DeiTForImageClassificationWithTeacher(DeiTConfig(**SIZES)))
make("deit-modules", DeiTForImageClassificationWithTeacher(DeiTConfig(**SIZES)), modules=True)
