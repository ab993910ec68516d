"""Which part of the input a unit of a layer sees: arithmetic over kernels, strides and paddings."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class ReceptiveField:
    """Of a layer's units, in input pixels, the same along both axes.

    size: side of the square that a unit sees. jump: from one unit to the next. center: of unit 0, as an edge
    coordinate (pixel 0 covers 0 to 1); unit i sits at ``center + jump * i``.
    """

    size: float = 1.0
    jump: float = 1.0
    center: float = 0.5

    def after(self, kernel: int, stride: int = 1, padding: int = 0) -> "ReceptiveField":
        """The field of a layer with this kernel above the present one."""
        shift = ((kernel - 1) / 2 - padding) * self.jump
        return ReceptiveField(self.size + (kernel - 1) * self.jump, self.jump * stride, self.center + shift)


def after_layers(layers: nn.Module, field: ReceptiveField = ReceptiveField()) -> ReceptiveField:
    """The field above a chain of convolutions and poolings, which are found in the order that they are named in."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel, stride, padding = (
                value if isinstance(value, int) else value[0]
                for value in (layer.kernel_size, layer.stride, layer.padding)
            )
            field = field.after(int(kernel), int(stride), int(padding))
    return field
