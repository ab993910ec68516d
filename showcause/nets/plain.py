"""Ordinary networks in torchvision's key layout, so that its checkpoints load: normalised photos to logits.

AlexNet (Krizhevsky, 2014: one tower) and VGG-16 (Simonyan and Zisserman: ICLR 2015) have two heads. ``full`` is the
published one, three fully connected layers. ``pooled`` is that of class activation maps (Zhou et al.: CVPR 2016,
section 3): the last max pooling is left out, so that maps are finer, and the mean over places feeds one linear layer;
``added`` puts a further 3x3 convolution of so many filters below it. ResNets (He et al.: CVPR 2016) have such a head
anyway.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from showcause.nets.trunks import alexnet, conv, vgg16

HEADS = ("full", "pooled")


class PlainCnn(nn.Module):
    """Convolutions, average pooling to ``places`` x ``places``, and a classifier of what that gives."""

    def __init__(self, features: Sequence[nn.Module], places: int, classifier: nn.Module):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(places)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits: (N, 3, H, W) -> (N, classes)."""
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out


def plain_alexnet(classes: int, head: str = "full", added: int = 0, width: int = 64, hidden: int = 4096) -> PlainCnn:
    """hidden: units of the full head's layers. Raises ValueError for a head that there is not."""
    channels = 4 * width
    features = [*alexnet(width), *conv(channels, channels)]
    if _pooled(head, added):
        return _pooled_cnn(features, channels, added, classes)
    classifier = [
        nn.Dropout(), nn.Linear(36 * channels, hidden), nn.ReLU(),
        nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
    ]  # fmt: skip
    return PlainCnn([*features, nn.MaxPool2d(3, 2)], 6, nn.Sequential(*classifier))


def plain_vgg16(classes: int, head: str = "full", added: int = 0, width: int = 64, hidden: int = 4096) -> PlainCnn:
    """As ``plain_alexnet``; the dropouts of the full head stand where VGG has them."""
    channels = 8 * width
    features = [*vgg16(width), *conv(channels, channels)]
    if _pooled(head, added):
        return _pooled_cnn(features, channels, added, classes)
    classifier = [
        nn.Linear(49 * channels, hidden), nn.ReLU(), nn.Dropout(),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, classes),
    ]  # fmt: skip
    return PlainCnn([*features, nn.MaxPool2d(2, 2)], 7, nn.Sequential(*classifier))


def _pooled(head: str, added: int) -> bool:
    if head not in HEADS:
        raise ValueError(f"head is {head!r}; allowed: {', '.join(HEADS)}")
    if added < 0 or (added and head == "full"):
        raise ValueError(f"added is {added}; allowed: 0, or with head = 'pooled' a number of filters")
    return head == "pooled"


def _pooled_cnn(features: list[nn.Module], channels: int, added: int, classes: int) -> PlainCnn:
    top = conv(channels, added) if added else []
    return PlainCnn([*features, *top], 1, nn.Linear(added or channels, classes))


class _Basic(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = _conv(channels, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = _conv(width, width, 3), nn.BatchNorm2d(width), nn.ReLU()
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + _beside(x, self.downsample)
        return self.relu2(out)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (which takes the stride, as in torchvision) and 1x1 to four times the width, beside the identity."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        out = width * self.expansion
        self.conv1, self.bn1, self.relu1 = _conv(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width), nn.ReLU()
        self.conv3, self.bn3, self.relu3 = _conv(width, out, 1), nn.BatchNorm2d(out), nn.ReLU()
        self.downsample = _shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + _beside(x, self.downsample)
        return self.relu3(out)


def _conv(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)


def _shortcut(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution where a block changes shapes."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))


def _beside(x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    shortcut: Tensor = x if downsample is None else downsample(x)
    return shortcut


class PlainResNet(nn.Module):
    """blocks: how many in each stage. bottleneck: their kind (ResNet-50). width: filters of the first convolution.

    Each ReLU is a module of its own, so that each can be read by its name; tensors are named as in torchvision.
    """

    def __init__(self, classes: int, blocks: Sequence[int], bottleneck: bool = False, width: int = 64):
        super().__init__()
        block: type[_Basic | _Bottleneck] = _Bottleneck if bottleneck else _Basic
        self.conv1, self.bn1, self.relu = _conv(3, width, 7, 2), nn.BatchNorm2d(width), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels, self.stages = width, [f"layer{stage + 1}" for stage in range(len(blocks))]
        for stage, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            layer = nn.Sequential()
            for index in range(count):
                layer.append(block(channels, width * 2**stage, 2 if stage and not index else 1))
                channels = width * 2**stage * block.expansion
            self.add_module(name, layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits: (N, 3, H, W) -> (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        out: Tensor = self.fc(self.avgpool(x).flatten(1))
        return out
