"""B-cos ResNets in the official v2 key layout (TPAMI 2024, section 4): no ReLU, average pooling."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from showcause.nets.bcos import BcosNet, Style


class _Basic(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al., CVPR 2016)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, style: Style):
        super().__init__()
        self.conv1, self.bn1 = style.conv(channels, width, 3, stride, 1), style.normed(width)
        self.conv2, self.bn2 = style.conv(width, width, 3, 1, 1), style.normed(width)
        self.downsample = _shortcut(channels, width, stride, style)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        out = self.bn1(self.conv1(x, hold))
        out = self.bn2(self.conv2(out, hold))
        return out + _beside(x, self.downsample, hold)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (which takes the stride, as in torchvision) and 1x1 to four times the width, beside the identity."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, style: Style):
        super().__init__()
        out = width * self.expansion
        self.conv1, self.bn1 = style.conv(channels, width), style.normed(width)
        self.conv2, self.bn2 = style.conv(width, width, 3, stride, 1), style.normed(width)
        self.conv3, self.bn3 = style.conv(width, out), style.normed(out)
        self.downsample = _shortcut(channels, out, stride, style)

    def forward(self, x: Tensor, hold: bool) -> Tensor:
        out = self.bn1(self.conv1(x, hold))
        out = self.bn2(self.conv2(out, hold))
        out = self.bn3(self.conv3(out, hold))
        return out + _beside(x, self.downsample, hold)


def _shortcut(channels: int, out: int, stride: int, style: Style) -> nn.ModuleList | None:
    if stride == 1 and channels == out:
        return None
    return nn.ModuleList([style.conv(channels, out, 1, stride), style.normed(out)])


def _beside(x: Tensor, downsample: nn.ModuleList | None, hold: bool) -> Tensor:
    if downsample is None:
        return x
    conv, norm = downsample
    shortcut: Tensor = norm(conv(x, hold))
    return shortcut


class BcosResNet(BcosNet):
    """blocks: how many in each of the four stages. bottleneck: their kind (ResNet-50 and deeper)."""

    def __init__(
        self,
        classes: int,
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        width: int = 64,
        temperature: float = 1.0,
        bias: float | None = None,
        **style_options: Any,
    ):
        super().__init__(classes, temperature, bias)
        style, block = Style(**style_options), _Bottleneck if bottleneck else _Basic
        self.conv1, self.bn1 = style.conv(6, width, 7, 2, 3), style.normed(width)
        channels = width
        for stage, count in enumerate(blocks):
            layer = nn.ModuleList()
            for index in range(count):
                layer.append(block(channels, width * 2**stage, 2 if stage and not index else 1, style))
                channels = width * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", layer)
        self.fc = style.conv(channels, classes)

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        x = self.bn1(self.conv1(x, hold))
        x = F.avg_pool2d(x, 3, 2, 1)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for block in getattr(self, name):
                x = block(x, hold)
        out: Tensor = self.fc(x, hold)
        return out
