"""The networks that are compared: an ordinary ResNet-18, our B-cos ResNet-18, and the authors' own.

All three have the same shape, 1,000 classes and 224 x 224 inputs. The B-cos weights are random, with norms calibrated
by one training pass: without that, signals vanish into denormal numbers, and times mean nothing.
"""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from showcause.layers.bcos import UncentredNorm2d, add_inverse
from showcause.nets.bcos_resnet import BcosResNet

CLASSES = 1000
PEERS = Path(__file__).parent / ".peers"


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.skip = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.skip = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.skip(x))


def ordinary() -> nn.Module:
    """ResNet-18 as He et al. (CVPR 2016) describe it: (N, 3, 224, 224) -> (N, 1000)."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage in range(4):
        for index in range(2):
            layers.append(_Block(channels, 64 * 2**stage, 2 if stage and not index else 1))
            channels = 64 * 2**stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES)]
    return nn.Sequential(*layers).eval().requires_grad_(False).to(memory_format=torch.channels_last)


def bcos(sample: Tensor, classes: int = CLASSES) -> BcosResNet:
    """Ours, calibrated on ``sample`` (N, 3, 224, 224)."""
    torch.manual_seed(0)
    net = BcosResNet(classes).train().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, UncentredNorm2d):
            module.momentum = 1.0
    net(add_inverse(sample))
    return net.eval().to(memory_format=torch.channels_last)


def official(twin: BcosResNet) -> nn.Module:
    """The authors' ResNet-18 (PyPI: bcos 0.1.3, Apache-2.0) with our weights; fetched into ``.peers`` when missing.

    Its package imports torchvision for data and training; the network itself does not use it, so that a stand-in is
    enough to import it.
    """
    if not (PEERS / "bcos").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PEERS)]
        subprocess.run([*command, "bcos==0.1.3"], check=True)
    sys.path.insert(0, str(PEERS))
    for name in ("torchvision", "torchvision.ops"):
        sys.modules.setdefault(name, MagicMock())
    package = ModuleType("bcos")
    package.__path__ = [str(PEERS / "bcos")]  # its __init__ would import everything
    models = ModuleType("bcos.models")
    models.__path__ = [str(PEERS / "bcos" / "models")]
    sys.modules |= {"bcos": package, "bcos.models": models}
    resnet = importlib.import_module("bcos.models.resnet")
    modules = importlib.import_module("bcos.modules")
    norm = modules.norms.NoBias(modules.norms.BatchNormUncentered2d)
    net = resnet.resnet18(
        pretrained=False,
        num_classes=CLASSES,
        in_chans=6,
        norm_layer=norm,
        conv_layer=modules.BcosConv2d,
        logit_bias=twin.bias,
    )
    net.load_state_dict(twin.state_dict())
    return net.eval()
