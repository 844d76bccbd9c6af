"""The other side of `vistill bench --peer`: one case in PyTorch and timm, as a user would write it.

Reads the case as JSON from argv, writes "ready FLOPS SECONDS" (FLOPS 0: not counted), then answers each line "N" on standard input with the
seconds that N steps took. A training step is forward, cross-entropy, backward, AdamW (foreach); float32, random inputs.
"""
import json
import sys
import time

case = json.loads(sys.argv[1])
try:
    import torch
    from torch import nn
    import timm.models.deit
    import timm.models.vision_transformer
except ImportError as error:
    print('error the interpreter lacks a package:', error, flush=True)
    sys.exit(1)
torch.manual_seed(0)
torch.set_num_threads(case['threads'])


class Block(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = nn.Identity()
        if stride != 1:
            self.down = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.down(x))


def resnet_cifar(o):
    width, layers = o['width'], []
    inside = width
    for stage in range(3):
        for i in range((o['depth'] - 2) // 6):
            layers.append(Block(inside, width << stage, 2 if stage and not i else 1))
            inside = width << stage
    return nn.Sequential(nn.Conv2d(o['channels'], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), *layers,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, o['classes']))


def vit(o):
    if o['stem'] != 'patch':
        return None
    family = timm.models.deit.VisionTransformerDistilled if o['distilled'] else timm.models.vision_transformer.VisionTransformer
    model = family(img_size=o['image'], patch_size=o['patch'], in_chans=o['channels'], num_classes=o['classes'],
                   embed_dim=o['dim'], depth=o['depth'], num_heads=o['heads'], mlp_ratio=o['mlp_ratio'],
                   drop_path_rate=o['drop_path'])
    if o['distilled']:
        model.distilled_training = True
    return model


build = {'vit': vit, 'resnet_cifar': resnet_cifar}.get(case['family'])
o = {}  # a model file's options are texts
for key, value in case['options'].items():
    try:
        o[key] = json.loads(value)
    except ValueError:
        o[key] = value
model = build(o) if build else None
if model is None:
    print(f'unsupported timm has no counterpart of this {case["family"]}', flush=True)
    sys.exit(1)
x = torch.rand(case['batch'], o['channels'], o['image'], o['image'])
y = torch.randint(0, o['classes'], (case['batch'],))


def scores():
    out = model(x)
    return (out[0] + out[1]) / 2 if isinstance(out, tuple) else out


if case['kind'] == 'train':
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True)

    def step():
        loss = torch.nn.functional.cross_entropy(scores(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
else:
    model.eval()

    def step():
        with torch.inference_mode():
            scores()


def seconds(steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


seconds(2)
print('ready 0', seconds(1), flush=True)
for line in sys.stdin:
    print(seconds(int(line)), flush=True)
