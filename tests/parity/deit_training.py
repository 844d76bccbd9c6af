"""Trains small models with vistill and, on the batches that it dumps, with PyTorch and timm as facebookresearch/deit's main.py
does, and compares losses, weights and moving averages.

usage: python deit_training.py VISTILL FOLDER       VISTILL_DEIT: a checkout of DeiT, whose losses.py is used then
"""
import csv
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from timm.loss import SoftTargetCrossEntropy
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.optim import Lamb, Lion
from timm.utils import ModelEma

program, folder = sys.argv[1:]
os.chdir(folder)
torch.manual_seed(5)
torch.set_num_threads(2)
SIZE, CLASSES, BATCH, STEPS = 28, 10, 20, 32
SHAPE = dict(img_size=SIZE, patch_size=4, in_chans=1, num_classes=CLASSES, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2)
LOSS_BOUND, WEIGHT_BOUND = 1e-6, 5e-6  # of each step's loss, as a share of it; of any weight after the last: measured 2e-7, 9e-7


def write_idx(split, count, random):
    labels = random.integers(0, CLASSES, count).astype(np.uint8)
    images = random.integers(0, 256, (count, SIZE, SIZE)).astype(np.uint8)
    images[np.arange(count), labels] = 255  # a bright row tells the class
    with open(f'data/{split}-images-idx3-ubyte', 'wb') as file:
        file.write(struct.pack('>IIII', 2051, count, SIZE, SIZE) + images.tobytes())
    with open(f'data/{split}-labels-idx1-ubyte', 'wb') as file:
        file.write(struct.pack('>II', 2049, count) + labels.tobytes())


def call(*words):
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'FAILED: {" ".join(words)}: {done.stdout}{done.stderr}')


def model_text(name, classes=CLASSES):
    return f'{name}, image: {SIZE}, channels: 1, classes: {classes}, patch: 4, dim: 32, depth: 3, heads: 2, mlp_ratio: 2'


def imported(model, name, path):
    torch.save(model.state_dict(), f'{path}.pth')
    words = [word for setting in model_text(name).split(', ')[1:] for word in ('--set', setting.replace(': ', '='))]
    call('import', f'{path}.pth', '--model', name, *words, '-o', f'{path}.safetensors')


class DistillationLoss(torch.nn.Module):
    """facebookresearch/deit's losses.py, from its formulas."""

    def __init__(self, base, teacher, kind, alpha, tau):
        super().__init__()
        self.base, self.teacher, self.kind, self.alpha, self.tau = base, teacher, kind, alpha, tau

    def forward(self, inputs, outputs, labels):
        outputs, distilled = outputs if isinstance(outputs, tuple) else (outputs, None)
        base = self.base(outputs, labels)
        if self.kind == 'none':
            return base
        with torch.no_grad():
            answers = self.teacher(inputs)
        if self.kind == 'hard':
            loss = F.cross_entropy(distilled, answers.argmax(dim=1))
        else:
            student, teacher = F.log_softmax(distilled / self.tau, 1), F.log_softmax(answers / self.tau, 1)
            loss = F.kl_div(student, teacher, reduction='sum', log_target=True) * self.tau ** 2 / distilled.numel()
        return base * (1 - self.alpha) + loss * self.alpha


if os.environ.get('VISTILL_DEIT'):
    sys.path.insert(0, os.environ['VISTILL_DEIT'])
    from losses import DistillationLoss  # noqa: F811


def groups_of(model, decay):  # timm's param_groups_weight_decay with the models' no_weight_decay()
    no_decay = {'pos_embed', 'cls_token', 'dist_token'}
    plain = [p for n, p in model.named_parameters() if p.requires_grad and (p.ndim <= 1 or n in no_decay)]
    decayed = [p for n, p in model.named_parameters() if p.requires_grad and not (p.ndim <= 1 or n in no_decay)]
    return [{'params': plain, 'weight_decay': 0.}, {'params': decayed, 'weight_decay': decay}]


BETAS = dict(betas=(.9, .999), eps=1e-8)
OPTIMIZERS = {
    'adamw': lambda groups, clip: torch.optim.AdamW(groups, lr=1, **BETAS),
    'adam': lambda groups, clip: torch.optim.Adam(groups, lr=1, **BETAS),
    'nadam': lambda groups, clip: torch.optim.NAdam(groups, lr=1, **BETAS),
    'lamb': lambda groups, clip: Lamb(groups, lr=1, max_grad_norm=clip or None, **BETAS),
    'lion': lambda groups, clip: Lion(groups, lr=1, betas=(.9, .99)),
    'sgd': lambda groups, clip: torch.optim.SGD(groups, lr=1, momentum=.9, nesterov=True),
}
CASES = [  # optimiser, distillation with alpha and tau, augment, loss, clipping, frozen parameters, further keys
    dict(name='plain', optim='adamw'),
    dict(name='mixed', optim='adamw', augment='mixup: 0.8, cutmix: 1'),
    dict(name='elem', optim='adamw', augment='mixup: 0.8, cutmix_minmax: [0.2, 0.8], mixup_mode: elem'),
    dict(name='pair', optim='adamw', augment='mixup: 0.8, cutmix: 1, mixup_mode: pair'),
    dict(name='hard', optim='adamw', kind='hard', alpha=.5, augment='mixup: 0.8, cutmix: 1'),
    dict(name='soft', optim='adamw', kind='soft', alpha=.1, tau=3., augment='mixup: 0.8, cutmix: 1'),
    dict(name='deit3', optim='lamb', loss='bce', clip=1., augment='mixup: 0.8, cutmix: 1', smoothing=0),
    dict(name='clipped', optim='adamw', clip=.5),
    dict(name='sgd', optim='sgd', lr=.02),
    dict(name='adam', optim='adam'),
    dict(name='nadam', optim='nadam'),
    dict(name='lion', optim='lion', lr=1e-4),
    dict(name='attn-only', optim='adamw', freeze='*, !*.attn.*, !head.*, !pos_embed'),
    dict(name='no-train-mode', optim='adamw', evaluation=True),
    dict(name='two-heads', optim='adamw', evaluation=True, heads=2),
    dict(name='accumulated', optim='adamw', accumulate=2, kind='hard', alpha=.5),
]


def start_of(case):
    return 'distilled' if 'kind' in case or case.get('heads') == 2 else 'student'


def recipe_of(case):
    kind, alpha = case.get('kind', 'none'), case.get('alpha', 0)
    distilled, start = kind != 'none', start_of(case)
    name = 'deit_mini_distilled_patch4_28' if start == 'distilled' else 'vit_mini_patch4_28'
    term = '{distance: hard, ' if kind == 'hard' else f'{{distance: kl, temperature: {case.get("tau", 1)}, reduction: elements, '
    text = f'''model: {{name: {model_text(name)}{", drop_path: 0.3, dropout: 0.2" if case.get("evaluation") else ""}}}
data: {{path: data}}
augment: {{train: "flip", {case.get("augment", "mixup: 0")}}}
optim: {{name: {case["optim"]}, batch: {BATCH}, accumulate: {case.get("accumulate", 1)}, lr: {case.get("lr", 1e-3)}, warmup_epochs: 0.25,
  loss: {case.get("loss", "ce")}, smoothing: {case.get("smoothing", 0.1)}, clip_norm: {case.get("clip", 0)}, ema_decay: 0.9, weights: raw,
  freeze: "{case.get("freeze", "")}"}}
run: {{epochs: 1, start: {start}.safetensors, train_mode: {str(not case.get("evaluation")).lower()}, output: run-{case["name"]}, log_steps: 1, threads: 2, eval_batch: 20}}
'''
    if distilled:
        text += f'''distill:
  teacher: teacher.safetensors
  label_weight: {1 - alpha}
  terms: [{term} student: logits_dist, teacher: logits, weight: {alpha}}}]
'''
    return text


def freeze(model):  # main.py's --attn-only
    for name, parameter in model.named_parameters():
        parameter.requires_grad = '.attn.' in name or name in ('head.weight', 'head.bias', 'pos_embed')


def train(case, batches, rates):
    kind = case.get('kind', 'none')
    shape = SHAPE | dict(drop_path_rate=.3, pos_drop_rate=.2, proj_drop_rate=.2, attn_drop_rate=.2) if case.get('evaluation') else SHAPE
    model = (VisionTransformerDistilled if start_of(case) == 'distilled' else VisionTransformer)(**shape)
    model.load_state_dict(torch.load(start_of(case) + '.pth'))
    if case.get('freeze'):
        freeze(model)
    if kind != 'none':
        model.set_distilled_training(True)
    model.train(not case.get('evaluation'))  # main.py's --no-train-mode
    ema = ModelEma(model, decay=.9)
    base = torch.nn.BCEWithLogitsLoss() if case.get('loss') == 'bce' else SoftTargetCrossEntropy()
    criterion = DistillationLoss(base, teacher, kind, case.get('alpha', 0), case.get('tau', 1.))
    optimizer = OPTIMIZERS[case['optim']](groups_of(model, .05), case.get('clip', 0))
    every, losses = case.get('accumulate', 1), []
    for step, rate in enumerate(rates):
        optimizer.zero_grad()
        total = 0
        for part in range(every):
            images, targets = batches[step * every + part]
            if case.get('loss') == 'bce':
                targets = targets.gt(0.).type(targets.dtype)
            loss = criterion(images, model(images), targets) / every
            loss.backward()
            total += loss.item()
        if case.get('clip') and case['optim'] != 'lamb':
            torch.nn.utils.clip_grad_norm_(model.parameters(), case['clip'])
        for group in optimizer.param_groups:
            group['lr'] = rate
        optimizer.step()
        ema.update(model)
        losses.append(total)
    return losses, model.state_dict(), ema.ema.state_dict()


def known(name, value):
    """Without the keys' biases: softmax does not see them, so their gradient is rounding alone, which Adam and Lion make as large as
    any other."""
    return torch.cat([value[:SHAPE['embed_dim']], value[2 * SHAPE['embed_dim']:]]) if name.endswith('qkv.bias') else value


def off_by(ours, theirs, prefix=''):
    return max((known(key, ours[prefix + key]) - known(key, value)).abs().max().item() for key, value in theirs.items())


def compare(case):
    name, every = case['name'], case.get('accumulate', 1)
    with open(f'{name}.yaml', 'w') as file:
        file.write(recipe_of(case))
    call('data', 'dump', f'{name}.yaml', '-o', f'{name}.batches', '--batches', str(STEPS))
    call('train', f'{name}.yaml')
    dumped = load_file(f'{name}.batches')
    batches = [(dumped[f'batch{i}.images'], dumped[f'batch{i}.targets']) for i in range(STEPS)]
    rows = list(csv.DictReader(open(f'run-{name}/steps.csv')))
    assert len(rows) == STEPS // every, len(rows)
    losses, weights, average = train(case, batches, [float(row['lr']) for row in rows])
    with safe_open(f'run-{name}/last.safetensors', 'pt') as file:
        ours = {key: file.get_tensor(key) for key in file.keys()}
    loss = max(abs(float(row['loss']) - theirs) / theirs for row, theirs in zip(rows, losses))
    weight, ema = off_by(ours, weights), off_by(ours, average, 'ema.')
    moved = off_by(torch.load(start_of(case) + '.pth'), weights)
    good = loss < LOSS_BOUND and weight < WEIGHT_BOUND and ema < WEIGHT_BOUND and moved > 20 * WEIGHT_BOUND
    print(f'{name:12} loss {losses[0]:.4f} to {losses[-1]:.4f}, off by {loss:.1e} of it; weights off by {weight:.1e}, average by '
          f'{ema:.1e}{"" if good else "   FAILED"}', flush=True)
    return good


os.mkdir('data')
write_idx('train', BATCH * STEPS, np.random.default_rng(1))
write_idx('t10k', 20, np.random.default_rng(2))
student, distilled, teacher = VisionTransformer(**SHAPE), VisionTransformerDistilled(**SHAPE), VisionTransformer(**SHAPE)
for part in (teacher.head,):
    torch.nn.init.normal_(part.weight, std=.5)  # answers that differ from image to image
imported(student, 'vit_mini_patch4_28', 'student')
imported(distilled, 'deit_mini_distilled_patch4_28', 'distilled')
imported(teacher, 'vit_mini_patch4_28', 'teacher')
teacher.eval()
sys.exit(0 if all([compare(case) for case in CASES]) else 1)
