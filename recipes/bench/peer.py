"""The other side of `vistill bench --peer`: one case as a user would write it, in PyTorch with timm, ONNX Runtime or OpenVINO.

Reads the case as JSON from argv, writes "ready FLOPS SECONDS" (FLOPS 0: not counted), then answers each line "N" on standard
input with the seconds that N steps took. A training step is forward, cross-entropy, backward, AdamW (foreach); float32,
random inputs. ONNX Runtime and OpenVINO get the model that PyTorch exports in a process of its own: this one's peak memory is
its own. On integers it is quantised there, too, as their users do it after training: by ONNX Runtime's quantize_static (QDQ, a
scale for each output channel) or by NNCF.
"""
import json
import os
import signal
import sys
import tempfile
import time

case = json.loads(sys.argv[1])
o = {}  # a model file's options are texts
for key, value in case['options'].items():
    try:
        o[key] = json.loads(value)
    except ValueError:
        o[key] = value
shape = (case['batch'], o['channels'], o['image'], o['image'])


def leave(*why):
    print(*why, flush=True)
    os._exit(1)


def resnet_cifar():
    import torch
    from torch import nn

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

    inside, layers = o['width'], []
    for stage in range(3):
        for i in range((o['depth'] - 2) // 6):
            layers.append(Block(inside, o['width'] << stage, 2 if stage and not i else 1))
            inside = o['width'] << stage
    return nn.Sequential(nn.Conv2d(o['channels'], o['width'], 3, 1, 1, bias=False), nn.BatchNorm2d(o['width']), nn.ReLU(),
                         *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, o['classes']))


def vit():
    import timm.models.deit
    import timm.models.vision_transformer
    if o['stem'] != 'patch' or o.get('layer_scale') or not o.get('class_position', True):
        return None
    family = timm.models.deit.VisionTransformerDistilled if o['distilled'] else timm.models.vision_transformer.VisionTransformer
    model = family(img_size=o['image'], patch_size=o['patch'], in_chans=o['channels'], num_classes=o['classes'],
                   embed_dim=o['dim'], depth=o['depth'], num_heads=o['heads'], mlp_ratio=o['mlp_ratio'],
                   drop_path_rate=o['drop_path'])
    if o['distilled']:
        model.distilled_training = case['kind'] == 'train'
    return model


def make_model():
    import timm
    own = {'vit': vit, 'resnet_cifar': resnet_cifar}.get(case['family'])
    model = own() if own else None
    if model is None and timm.is_model(case['variant']):
        model = timm.create_model(case['variant'], num_classes=o['classes'], in_chans=o['channels'])
    if model is None:
        leave('unsupported timm has no counterpart of', case['variant'])
    return model


def pytorch():
    import torch
    torch.manual_seed(0)
    torch.set_num_threads(case['threads'])
    model, x = make_model(), torch.rand(shape)
    if case['kind'] == 'infer':
        model.eval()

        def infer():
            with torch.inference_mode():
                model(x)
        return infer
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True)
    y = torch.randint(0, o['classes'], (case['batch'],))

    def step():
        out = model(x)
        out = (out[0] + out[1]) / 2 if isinstance(out, tuple) else out
        loss = torch.nn.functional.cross_entropy(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return step


def export(path):
    import torch
    torch.onnx.export(make_model().eval(), (torch.rand(shape),), path, dynamo=True, external_data=False, verbose=False)


RANGE_IMAGES = 16  # for the ranges of activations, as on the other side


def quantize_onnx(path):
    import numpy
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
    name = onnx.load(path).graph.input[0].name
    images = iter([{name: numpy.random.rand(*shape).astype('float32')} for _ in range(-(-RANGE_IMAGES // case['batch']))])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(images, None)

    quant_pre_process(path, path + '.plain', skip_symbolic_shape=True)
    quantization.quantize_static(path + '.plain', path, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                                 activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8)


def export_onnx(path):
    export(path)
    if case['integers']:
        quantize_onnx(path)


def export_openvino(path):
    import numpy
    import openvino
    export(path + '.onnx')
    model = openvino.Core().read_model(path + '.onnx')
    if case['integers']:
        import nncf
        images = nncf.Dataset([numpy.random.rand(*shape).astype('float32') for _ in range(-(-RANGE_IMAGES // case['batch']))])
        attends = any('oftmax' in node.get_type_name() for node in model.get_ops())
        model = nncf.quantize(model, images, model_type=nncf.ModelType.TRANSFORMER if attends else None)
    openvino.save_model(model, path, compress_to_fp16=False)


def aside(make, path):
    """In a child of which this process keeps no account: ended children that nobody waits for are not added to its peak.
    Before it nothing is imported that starts threads, which a child does not have."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        import logging
        import warnings
        answers = os.fdopen(os.dup(1), 'w')
        for descriptor in 1, 2:  # exporter and quantisers talk
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        try:
            logging.disable(logging.WARNING)
            warnings.simplefilter('ignore')
            make(path)
        except Exception as error:
            sys.stdout = answers
            lacking = isinstance(error, ImportError)
            leave('error', 'the interpreter lacks a package:' if lacking else 'it cannot be exported or quantised:',
                  str(error).split('\n')[0])
        os._exit(0)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # it has ended
        pass
    if not os.path.exists(path):
        os._exit(1)  # the child said why


def onnxruntime():
    if case['kind'] != 'infer':
        leave('unsupported ONNX Runtime does not train')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'model.onnx')
        aside(export_onnx, path)
        import onnxruntime as ort
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = case['threads']
        session = ort.InferenceSession(path, settings, providers=['CPUExecutionProvider'])
    import numpy
    feed = {session.get_inputs()[0].name: numpy.random.rand(*shape).astype('float32')}
    return lambda: session.run(None, feed)


def openvino():
    if case['kind'] != 'infer':
        leave('unsupported OpenVINO does not train')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'model.xml')
        aside(export_openvino, path)
        import openvino as ov
        settings = {'INFERENCE_NUM_THREADS': case['threads'], 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
        request = ov.Core().compile_model(path, 'CPU', settings).create_infer_request()
    import numpy
    images = numpy.random.rand(*shape).astype('float32')
    return lambda: request.infer({0: images})


def seconds(steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


try:
    step = {'pytorch': pytorch, 'onnxruntime': onnxruntime, 'openvino': openvino}[case['runtime']]()
except ImportError as error:
    leave('error the interpreter lacks a package:', error)
seconds(2)
print('ready 0', seconds(1), flush=True)
for line in sys.stdin:
    print(seconds(int(line)), flush=True)
