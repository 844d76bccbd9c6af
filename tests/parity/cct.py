"""The Compact Convolutional Transformer of Hassani et al., 2021 (arXiv 2104.05704), with the tensor names of the authors'
checkpoints: the reference of backbones/cct.c. There is no dropout and no stochastic depth; it is compared without them."""
import torch.nn.functional as F
from torch import empty, nn


def tokenizer(channels, width, dim, kernel, conv_layers):
    widths = [channels] + [width] * (conv_layers - 1) + [dim]
    stride, padding = max(1, kernel // 2 - 1), max(1, kernel // 2)
    return nn.Sequential(*(nn.Sequential(nn.Conv2d(inside, out, kernel, stride, padding, bias=False), nn.ReLU(),
                                         nn.MaxPool2d(3, 2, 1)) for inside, out in zip(widths, widths[1:])))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        q, k, v = (part.reshape(batch, tokens, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.mT / (dim // self.heads) ** 0.5
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.pre_norm, self.norm1 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attn = Attention(dim, heads)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(self.pre_norm(x)))
        return x + self.linear2(F.gelu(self.linear1(x)))


class Classifier(nn.Module):
    def __init__(self, tokens, dim, depth, heads, hidden, classes):
        super().__init__()
        self.positional_emb = nn.Parameter(nn.init.normal_(empty(1, tokens, dim), std=0.2))
        self.attention_pool = nn.Linear(dim, 1)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, classes)

    def forward(self, x):
        x = x + self.positional_emb
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.fc((self.attention_pool(x).softmax(dim=1) * x).sum(dim=1))


class CCT(nn.Module):
    def __init__(self, tokens, channels, width, dim, depth, heads, hidden, kernel, conv_layers, classes):
        super().__init__()
        self.tokenizer = nn.Module()
        self.tokenizer.conv_layers = tokenizer(channels, width, dim, kernel, conv_layers)
        self.classifier = Classifier(tokens, dim, depth, heads, hidden, classes)

    def forward(self, x):
        return self.classifier(self.tokenizer.conv_layers(x).flatten(2).mT)
