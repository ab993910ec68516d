"""EfficientNet-Lite0 as the package efficientnet-lite-pytorch builds it (the extra ``imagenet``)."""

from collections import OrderedDict

from torch import nn


def lite0(classes: int) -> nn.Module:
    """For inputs of 224 x 224, whose paddings it holds; colours as in its TensorFlow original: (255 rgb - 127) / 128.

    The last maps are the layer ``_avg_pooling.maps``.
    """
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
    # The package runs one activation module in several places, so that the last maps have no name of their own.
    net._avg_pooling = nn.Sequential(OrderedDict(maps=nn.Identity(), pool=net._avg_pooling))
    made: nn.Module = net
    return made
