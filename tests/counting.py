"""What torch is made to do, counted."""

from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS = ("convolution", "_convolution", "_convolution_pointwise")
COPIES = ("clone", "copy_", "_to_copy")


class Counting(TorchDispatchMode):
    """Counts operations by their names, of this thread, while it is entered."""

    def __init__(self):
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        return operation(*args, **(kwargs or {}))

    @property
    def convolutions(self) -> int:
        """Forwards and transposed."""
        return sum(self.counts.get(name, 0) for name in CONVOLUTIONS)

    @property
    def copies(self) -> int:
        return sum(self.counts.get(name, 0) for name in COPIES)

    @property
    def backwards(self) -> list[str]:
        """Of autograd's operations; the transpose of pooling is one that programs use, too."""
        return [name for name in self.counts if "backward" in name and name != "avg_pool2d_backward"]
