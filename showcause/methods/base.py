"""What a method is: one row of the table ``METHODS``."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from showcause.channels import Distilled
from showcause.manifest import Manifest
from showcause.nets.base import Forward, Net, Tape
from showcause.nets.pooled import PooledHead
from showcause.outline import Located
from showcause.part_names import PartName
from showcause.reply import InputFrame, Residual, Target
from showcause.v1 import method_pb2
from showcause.wishes import Wish


class Model(Protocol):
    """What methods may know of a model: see ``showcause.model.Model``, which is made after the methods."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def net(self) -> Net: ...
    @property
    def layers(self) -> Mapping[str, tuple[int, int, int]]: ...
    @property
    def last_grid(self) -> str: ...
    @property
    def pooled(self) -> PooledHead | None: ...
    @property
    def rectified(self) -> bool: ...
    @property
    def part_names(self) -> Mapping[int, PartName]: ...
    @property
    def chip(self) -> Distilled: ...


@dataclass(frozen=True)
class Ask:
    """One explanation that is wanted: of ``target`` for item ``row`` of the batch, with settled parameters."""

    row: int
    target: Target
    parameters: method_pb2.Method


@dataclass(frozen=True)
class Attribution:
    """What a method found for one Ask.

    map: (h, w) float32, signed. units: where its units lie in the network's input, as the first one's centre and the
    step from one to the next, in input pixels; None where the map is stretched evenly over the input. weights: (C, H,
    W), only if asked for. color: makes the colour picture, (H, W, 4) in 0..1; drawn only when somebody wants it. parts:
    finds the parts in the photo, strongest first; None of methods that have none.
    """

    map: NDArray[np.float32]
    evidence: tuple[Residual, ...] = ()
    units: tuple[float, float] | None = None
    weights: NDArray[np.float32] | None = None
    color: Callable[[], NDArray[np.float32]] | None = None
    parts: Callable[[InputFrame], list[Located]] | None = None


# The parameters with their defaults, once they and the targets are checked against the model. The text is the method's
# path in the request; InvalidArgument and FailedPrecondition name it, or the target that cannot be explained.
Settle = Callable[[method_pb2.Method, str, Sequence[Wish], Model], method_pb2.Method]
# What the method needs of the forward pass, with parameters that are settled.
Needs = Callable[[method_pb2.Method, Model], Tape]
# One Attribution for each Ask, in their order, from a forward pass with at least that tape.
Explain = Callable[[Forward, Sequence[Ask], Model], list[Attribution]]


@dataclass(frozen=True)
class MethodRow:
    """version: rises when the same parameters would give another answer. suits: whether it explains such models."""

    version: int
    suits: Callable[[Model], bool]
    settle: Settle
    needs: Needs
    explain: Explain


def rounds(asks: Sequence[Ask]) -> list[list[int]]:
    """Indices of ``asks``: the first of every row, then every second one, and so on; each needs one backward pass."""
    found: list[list[int]] = []
    asked: dict[int, int] = defaultdict(int)
    for index, ask in enumerate(asks):
        if asked[ask.row] == len(found):
            found.append([])
        found[asked[ask.row]].append(index)
        asked[ask.row] += 1
    return found
