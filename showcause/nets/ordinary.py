"""Any ordinary classifier as a network that can be served: the module that was given, run with a tape."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from showcause.nets.base import Forward, Tape, recording

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos, as most classifiers expect them


class OrdinaryNet:
    """A module that maps normalised photos to logits, (N, 3, H, W) -> (N, classes).

    Layers and tensors keep the names that they have in the module. mean, std: of each colour channel, by which photos
    in 0..1 are normalised.
    """

    def __init__(self, module: nn.Module, classes: int, mean: Sequence[float] = MEAN, std: Sequence[float] = STD):
        for name, values in (("mean", mean), ("std", std)):
            if not (
                isinstance(values, Sequence)
                and len(values) == 3
                and all(isinstance(value, int | float) and (name == "mean" or value > 0) for value in values)
            ):
                raise ValueError(
                    f"{name} is {values!r}; allowed: three numbers" + (", above 0" if name == "std" else "")
                )
        self.module, self.classes = module, classes
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        layer: Any
        for layer in module.modules():
            if getattr(layer, "inplace", False):
                layer.inplace = False  # what a layer gave must stay as it was when it is read

    def encoded(self, rgb: Tensor) -> Tensor:
        """Normalised."""
        mean, std = self.mean.to(rgb.device, rgb.dtype), self.std.to(rgb.device, rgb.dtype)
        return (rgb - mean) / std

    def evidence(self, x: Tensor) -> Tensor:
        """What the module answers: its bias is not told from the rest."""
        evidence: Tensor = self.module(x)
        return evidence

    def run(self, rgb: Tensor, tape: Tape = Tape()) -> Forward:
        """One forward pass; rgb: (N, 3, H, W) in 0..1. The bias is not told from the rest of the logits: it is 0."""
        with recording(tape) as activations:
            x = self.encoded(rgb).requires_grad_(tape.start == "input")
            evidence = self.evidence(x)
        answered = tuple(evidence.shape) if isinstance(evidence, Tensor) else type(evidence).__name__
        rows = evidence.shape[0] if tape.edits and isinstance(evidence, Tensor) else len(rgb)  # an edit may change them
        if answered != (rows, self.classes):
            raise ValueError(f"the network answers {answered}; needed: {(rows, self.classes)}, a logit a class")
        logits = evidence.detach()
        return Forward(x, evidence, logits, logits.new_zeros(self.classes), activations)

    def named_modules(self) -> Iterable[tuple[str, nn.Module]]:
        return self.module.named_modules()

    def state_dict(self) -> dict[str, Any]:
        return self.module.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        return self.module.load_state_dict(state_dict)

    def train(self, mode: bool = True) -> Self:
        self.module.train(mode)
        return self

    def eval(self) -> Self:
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        self.module.requires_grad_(requires_grad)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        self.module.to(*args, **kwargs)
        return self

    def cpu(self) -> Self:
        return self.to("cpu")


def ordinary(
    builder: Callable[..., nn.Module],
    classes: int,
    /,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    **options: Any,
) -> OrdinaryNet:
    """What ``builder(classes, **options)`` makes, as a network that can be served."""
    return OrdinaryNet(builder(classes, **options), classes, mean, std)
