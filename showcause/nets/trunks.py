"""The convolutions of classic networks up to their last but one, as lists: networks differ in what they put above.

``features.N`` counts as torchvision does (AlexNet, VGG-16), from N = 0. ``width`` is the number of filters of the first
convolution; the others grow and shrink with it.
"""

from torch import nn


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU()]


def pool(kernel: int, stride: int = 2) -> list[nn.Module]:
    """As Caffe pools: a window that reaches beyond the map counts."""
    return [nn.MaxPool2d(kernel, stride, ceil_mode=True)]


def alexnet(width: int = 64) -> list[nn.Module]:
    """Krizhevsky (2014), one tower, up to conv4: 4 x width filters, 13 x 13 places at 224 px."""
    first = [*conv(3, width, 11, 4, 2), nn.MaxPool2d(3, 2), *conv(width, 3 * width, 5, 1, 2), nn.MaxPool2d(3, 2)]
    return [*first, *conv(3 * width, 6 * width), *conv(6 * width, 4 * width)]


def vgg16(width: int = 64) -> list[nn.Module]:
    """Simonyan and Zisserman (2015), configuration D, up to conv5_2: 8 x width filters, 14 x 14 places at 224 px."""
    layers: list[nn.Module] = []
    channels = 3
    for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3)):
        for _ in range(count):
            layers += conv(channels, factor * width)
            channels = factor * width
        layers.append(nn.MaxPool2d(2, 2))
    return [*layers, *conv(channels, channels), *conv(channels, channels)]


def vgg_m() -> list[nn.Module]:
    """Chatfield and others (2014), CNN-M, up to conv4: 512 filters, 13 x 13 places at 224 px."""
    first = [*conv(3, 96, 7, 2, 0), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3)]
    second = [*conv(96, 256, 5, 2, 1), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3)]
    return [*first, *second, *conv(256, 512), *conv(512, 512)]


def vgg_s() -> list[nn.Module]:
    """Chatfield and others (2014), CNN-S, up to conv4: 512 filters, 18 x 18 places at 224 px."""
    first = [*conv(3, 96, 7, 2, 0), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), *pool(3, 3)]
    return [*first, *conv(96, 256, 5, 1, 1), *pool(2), *conv(256, 512), *conv(512, 512)]
