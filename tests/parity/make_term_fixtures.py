"""Writes terms.safetensors: for each distillation term of test_terms.c the two sides, and the loss and its gradient with respect
to the student as PyTorch computes them with the formulas of the published code (named at each). Needs torch and safetensors.
usage: make_term_fixtures.py [FOLDER]"""
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
tensors = {}


def case(name, student, teacher, loss, **extra):
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    tensors.update({f"{name}.student": student.detach().contiguous(), f"{name}.teacher": teacher.contiguous(),
                    f"{name}.loss": value.detach().reshape(1), f"{name}.gradient": student.grad.contiguous()})
    tensors.update({f"{name}.{key}": tensor.detach().contiguous() for key, tensor in extra.items()})


def kd(s, t, temperature):  # Hinton et al., 2015; mdistiller's KD.py
    return F.kl_div(F.log_softmax(s / temperature, 1), F.softmax(t / temperature, 1), reduction="batchmean") * temperature**2


def standardised(z):  # "Logit Standardization in Knowledge Distillation", 2024, its normalize()
    return (z - z.mean(dim=-1, keepdims=True)) / (1e-7 + z.std(dim=-1, keepdims=True))


def deit_soft(s, t, temperature):  # facebookresearch/deit losses.py
    a, b = F.log_softmax(s / temperature, dim=1), F.log_softmax(t / temperature, dim=1)
    return F.kl_div(a, b, reduction="sum", log_target=True) * (temperature * temperature) / s.numel()


scores = torch.randn(6, 10) * 2, torch.randn(6, 10) * 2
case("kd_t1", *scores, lambda s, t: kd(s, t, 1))
case("kd_t20", *scores, lambda s, t: kd(s, t, 20))
case("deit_soft", *scores, lambda s, t: deit_soft(s, t, 3))
case("deit_hard", *scores, lambda s, t: F.cross_entropy(s, t.argmax(dim=1)))
case("standardised", *scores, lambda s, t: kd(standardised(s), standardised(t), 2))

# Tokens of a transformer, with class and distillation token, and the map of a CNN.
tokens, small, large = torch.randn(2, 18, 12), torch.randn(2, 5, 4, 4), torch.randn(2, 5, 8, 8)


def to_map(x):
    x = x[:, 2:]
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], 4, 4)


project = torch.nn.Conv2d(12, 5, 1)
case("locality", tokens, large,  # tiny-transformers: 1x1 convolution, bilinear to the larger grid
     lambda s, t: F.mse_loss(F.interpolate(project(to_map(s)), (8, 8), mode="bilinear", align_corners=False), t),
     weight=project.weight, bias=project.bias)
case("hint", tokens, small, lambda s, t: F.mse_loss(project(to_map(s)), t), weight=project.weight, bias=project.bias)


def attention_transfer(s, t):  # Zagoruyko and Komodakis, 2017; mdistiller's AT.py, one layer
    s = to_map(s)
    t = F.adaptive_avg_pool2d(t, (s.shape[2], s.shape[3]))
    at = lambda f: F.normalize(f.pow(2).mean(1).reshape(f.shape[0], -1))
    return (at(s) - at(t)).pow(2).mean()


case("attention_transfer", tokens, large, attention_transfer)


def relation(x):
    return x @ x.transpose(-1, -2) / math.sqrt(x.shape[-1])


def rows_kl(s, t):
    return F.kl_div(F.log_softmax(s, -1).flatten(0, -2), F.softmax(t, -1).flatten(0, -2), reduction="batchmean")


case("relation_of_a_map", tokens, small, lambda s, t: rows_kl(relation(s[:, 2:]), relation(t.flatten(2).transpose(1, 2))))
heads = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 8)
case("minilm_values", *heads, lambda s, t: rows_kl(relation(s), relation(t)))  # MiniLM: mean over images, heads and tokens
attention = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6)
case("attention_kl", *attention, rows_kl)
case("attention_mse", *attention, F.mse_loss)  # TinyBERT, scores before the softmax
other = torch.randn(2, 18, 12)
case("cosine", tokens, other,  # DistilBERT: CosineEmbeddingLoss of all tokens with target 1
     lambda s, t: F.cosine_embedding_loss(s.flatten(0, 1), t.flatten(0, 1), torch.ones(s.shape[0] * s.shape[1])))
case("hidden", tokens, other, F.mse_loss)
case("class_token", tokens, other, lambda s, t: F.mse_loss(s[:, 0], t[:, 0]))
case("unit", tokens, other, lambda s, t: F.mse_loss(F.normalize(s[:, 2:], dim=-1), F.normalize(t[:, 2:], dim=-1)))


def pdist(e):  # lenscloth/RKD metric/utils.py
    square, product = e.pow(2).sum(dim=1), e @ e.t()
    result = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * product).clamp(min=1e-12).sqrt()
    result = result.clone()
    result[range(len(e)), range(len(e))] = 0
    return result


def rkd_distance(s, t):
    a, b = pdist(s), pdist(t)
    return F.smooth_l1_loss(a / a[a > 0].mean(), b / b[b > 0].mean())


def rkd_angle(s, t):
    angle = lambda e: (lambda n: torch.bmm(n, n.transpose(1, 2)).view(-1))(
        F.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2))
    return F.smooth_l1_loss(angle(s), angle(t))


vectors = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 9, dtype=torch.float64)
case("rkd_distance", *vectors, rkd_distance)
case("rkd_angle", *vectors, rkd_angle)
maps = torch.randn(7, 18, 12), torch.randn(7, 5, 4, 4)
case("rkd_pooled", *maps, lambda s, t: rkd_distance(s[:, 2:].mean(1), t.mean((2, 3))))

case("attention_transfer_uneven", tokens, torch.randn(2, 5, 7, 7), attention_transfer)  # windows of 2 and 3, overlapping


class Regressor(torch.nn.Module):  # mdistiller's ConvReg (distillers/_common.py), for one of its three cases
    def __init__(self, convolution, channels):
        super().__init__()
        self.conv, self.bn = convolution, torch.nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def regressor_case(name, convolution, grid):
    regressor = Regressor(convolution, 5)
    weight = convolution.weight
    if isinstance(convolution, torch.nn.ConvTranspose2d):  # as the convolution of the map with zeros between its values
        weight = weight.flip(2, 3).transpose(0, 1)
    case(name, tokens, torch.randn(2, 5, grid, grid), lambda s, t: F.mse_loss(regressor(to_map(s)), t),
         weight=weight, bias=convolution.bias)


regressor_case("fitnets_strided", torch.nn.Conv2d(12, 5, 3, stride=2, padding=1), 2)
regressor_case("fitnets_transposed", torch.nn.ConvTranspose2d(12, 5, 4, stride=2, padding=1), 8)
regressor_case("fitnets_same", torch.nn.Conv2d(12, 5, 1), 4)
regressor_case("fitnets_valid", torch.nn.Conv2d(12, 5, 2), 3)


class Resized(torch.nn.Conv2d):  # where ConvReg gives up
    def forward(self, x):
        return F.interpolate(super().forward(x), (7, 7), mode="bilinear", align_corners=False)


regressor_case("fitnets_resized", Resized(12, 5, 1), 7)


def softmax_mse(s, t):  # CuriousAI/mean-teacher losses.py, divided by the batch as its main.py does
    return F.mse_loss(F.softmax(s, 1), F.softmax(t, 1), reduction="sum") / s.shape[1] / s.shape[0]


case("softmax_mse", *scores, softmax_mse)

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
folder = folder if folder.is_dir() else folder.parent
save_file({name: tensor.float().clone() for name, tensor in tensors.items()}, folder / "terms.safetensors")
