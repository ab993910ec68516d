"""What a method is: one row of the table ``METHODS``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from showcause.nets.base import Forward
from showcause.reply import Residual, Target
from showcause.v1 import method_pb2


@dataclass(frozen=True)
class Ask:
    """One explanation that is wanted: of ``target`` for item ``row`` of the batch, with settled parameters."""

    row: int
    target: Target
    parameters: method_pb2.Method


@dataclass(frozen=True)
class Attribution:
    """What a method found for one Ask.

    map: (h, w) float32, signed. weights: (C, H, W), only if asked for. color: makes the colour picture, (H, W, 4) in
    0..1; drawn only when somebody wants it.
    """

    map: NDArray[np.float32]
    evidence: tuple[Residual, ...] = ()
    weights: NDArray[np.float32] | None = None
    color: Callable[[], NDArray[np.float32]] | None = None


class Explain(Protocol):
    """One Attribution for each Ask, in their order, from a forward pass that was made to be explained."""

    def __call__(self, forward: Forward, asks: Sequence[Ask]) -> list[Attribution]: ...


@dataclass(frozen=True)
class MethodRow:
    """version: rises when the same parameters would give another answer. settle: fills in defaults, checks ranges."""

    version: int
    settle: Callable[[method_pb2.Method, str], method_pb2.Method]
    explain: Explain
