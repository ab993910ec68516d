"""An ordinary trained VGG turned into the start of a B-cos network (B-cosification: Arya et al., NeurIPS 2024).

Biases go, batch norm without centring and the B-cos factor come, ReLU stays, the first filters are rewritten for the
6-channel input. Fine-tuning then recovers the accuracy.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from showcause.layers.bcos import BcosConv2d, UncentredNorm2d
from showcause.nets.bcos_vgg import BcosVgg

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of the ImageNet training
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbering
VGG16_POOL_AFTER = (2, 7, 14, 21, 28)


def six_channels(weight: Tensor, bias: Tensor) -> Tensor:
    """A first-layer filter of normalised RGB as one of [rgb, 1-rgb]: (O, 3, k, k) -> (O, 6, k, k).

    With v = w / std, a filter's answer is sum(v x) - c with c = sum(v mean) - bias. Half of v on x and minus half on
    1-x give sum(v x) up to a constant, and x + (1-x) = 1 at every place carries what is left of the constant.
    """
    v = weight / STD[:, None, None]
    constant = bias - (v * MEAN[:, None, None]).sum((1, 2, 3)) + 0.5 * v.sum((1, 2, 3))
    share = (constant / v[0].numel())[:, None, None, None]  # spread over all taps and colours
    return torch.cat([v / 2 + share, -v / 2 + share], 1)


@torch.no_grad()
def start_from_vgg16(net: BcosVgg, features: dict[str, Tensor], sample: Tensor) -> None:
    """Fills ``net`` from VGG-16's convolutions; a narrower layer takes the filters that vary most on ``sample``.

    sample: (N, 3, H, W) in 0..1. Each norm's weight starts at its channel's standard deviation in VGG-16, relative to
    the layer's mean, because the unit-length filters of a B-cos layer no longer carry it.
    """
    convs = [m for m in net.features if isinstance(m, BcosConv2d)]
    norms = [m for m in net.features if isinstance(m, UncentredNorm2d)]
    x = (sample - MEAN[:, None, None]) / STD[:, None, None]
    kept = torch.arange(3)
    for index, conv, norm in zip(VGG16_CONVS, convs, norms, strict=False):
        weight, bias = features[f"features.{index}.weight"].float(), features[f"features.{index}.bias"].float()
        x = F.conv2d(x, weight, bias, padding=1)
        spread = x.std((0, 2, 3))
        chosen = spread.topk(len(conv.linear.weight)).indices.sort().values
        start = six_channels(weight, bias) if index == 0 else weight[:, kept]
        start = start[chosen]
        conv.linear.weight.copy_(start / start.flatten(1).norm(dim=1)[:, None, None, None])
        norm.weight.copy_(spread[chosen] / spread[chosen].mean())
        kept = chosen
        x = F.relu(x)
        if index in VGG16_POOL_AFTER:
            x = F.max_pool2d(x, 2)
