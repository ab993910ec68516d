"""B-cos VGG: the official VGG-11, with norm (v2) and without (v1), and the narrower one that Showcause ships."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from showcause.layers.bcos import BcosConv2d, UncentredNorm2d
from showcause.nets.bcos import BcosNet, Style


class BcosVgg(BcosNet):
    """3x3 convolutions in stages that average pooling parts, and a head of convolutions.

    stages: output channels of each convolution, stage by stage. hidden: channels of the head's inner convolutions, of
    which the first is 7x7; none means that the head is one 1x1 convolution. pool_last: whether pooling also follows the
    last stage. relu: whether ReLU follows every norm (every convolution where there is none), as in networks that were
    B-cosified.
    ``features.N`` counts convolutions, norms and poolings as the official VGG does.
    """

    def __init__(
        self,
        classes: int,
        stages: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 384)),
        hidden: tuple[int, ...] = (),
        pool_last: bool = False,
        relu: bool = True,
        temperature: float = 1.0,
        bias: float | None = None,
        **style_options: Any,
    ):
        super().__init__(classes, temperature, bias)
        style = Style(**style_options)
        layers: list[nn.Module] = []
        channels = 6
        for index, stage in enumerate(stages):
            for out in stage:
                layers.append(style.conv(channels, out, 3, 1, 1))
                if style.norm:
                    layers.append(style.normed(out))
                channels = out
            if pool_last or index + 1 < len(stages):
                layers.append(nn.AvgPool2d(2))
        self.features = nn.ModuleList(layers)
        self.before_relu = (UncentredNorm2d if style.norm else BcosConv2d) if relu else ()
        head: list[nn.Module] = []
        for index, out in enumerate((*hidden, classes)):
            kernel, padding = (7, 3) if hidden and not index else (1, 0)
            head.append(style.conv(channels, out, kernel, 1, padding))
            channels = out
        self.classifier = nn.ModuleList(head)

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        for layer in self.features:
            x = layer(x, hold) if isinstance(layer, BcosConv2d) else layer(x)
            if isinstance(layer, self.before_relu):
                x = F.relu(x)
        for layer in self.classifier:
            x = layer(x, hold)
        return x
