"""What all B-cos networks share: the input, the head, and how their layers are made.

Every network here is a function of the 6-channel input [r, g, b, 1-r, 1-g, 1-b] and ends in

    logits = mean over places of a 1x1 B-cos convolution / temperature + bias        (v2, section 3.4)

so that, with every B-cos factor held, ``logits - bias`` is linear in the input. ``hold`` is explained in
``showcause.layers.bcos``; ReLU (kept by networks that were B-cosified from an ordinary one: Arya et al., NeurIPS 2024)
is piecewise linear and needs no holding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from showcause.layers.bcos import BcosConv2d, Size, UncentredNorm2d, add_inverse, area
from showcause.nets.base import Forward, Tape, recording
from showcause.nets.bcos_program import Program


@dataclass(frozen=True)
class Style:
    """How a B-cos network makes its layers; every builder takes these as options.

    The default is v2's (TPAMI 2024): one unit an output, batch norm without centring, no fixed gain. v1 (CVPR 2022) has
    ``max_out=2, norm=False`` and a fixed gain: ``s`` gives each convolution s / sqrt(kernel area * input channels)
    (100; Inception 200, VGG 1000), ``gain`` one number for all (CIFAR-10).
    """

    b: float = 2.0
    max_out: int = 1
    norm: bool = True
    s: float | None = None
    gain: float = 1.0

    def conv(self, channels: int, out: int, kernel: Size = 1, stride: int = 1, padding: Size = 0) -> BcosConv2d:
        gain = self.gain if self.s is None else self.s / math.sqrt(area(kernel) * channels)
        return BcosConv2d(channels, out, kernel, stride, padding, b=self.b, max_out=self.max_out, gain=gain)

    def normed(self, channels: int) -> nn.Module:
        """The norm after (or before) a convolution; nothing where the style has none."""
        return UncentredNorm2d(channels) if self.norm else nn.Identity()


class BcosNet(nn.Module):
    """classes: at least 2. temperature, bias: of the logits; the bias is -ln(classes - 1) unless given."""

    def __init__(self, classes: int, temperature: float, bias: float | None):
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes is {classes}: at least 2 are needed")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}: it must be above 0")
        self.classes, self.temperature = classes, temperature
        # -ln(C-1): an uninformed network starts at probability 1/C for each class (v2, section 3.4).
        self.bias = -math.log(classes - 1) if bias is None else bias
        self.program: Program | None = None

    def scores(self, x: Tensor, hold: bool) -> Tensor:
        """Class scores at every place: (N, 6, H, W) -> (N, classes, h, w)."""
        raise TypeError(f"{type(self).__name__} must define scores()")

    def held_scores(self, x: Tensor) -> Tensor:
        """The same as a function of x alone, with every factor held: what a program is made of."""
        return self.scores(x, True)

    def prepare(self) -> None:
        """Passes run as a program from now on, where they can: the weights must not change any more."""
        self.program = Program(self)

    def encoded(self, rgb: Tensor) -> Tensor:
        """[r, g, b, 1-r, 1-g, 1-b]: (N, 3, H, W) in 0..1 -> (N, 6, H, W)."""
        return add_inverse(rgb)

    def evidence(self, x: Tensor, hold: bool = False) -> Tensor:
        """Logits before the bias: (N, 6, H, W) in 0..1 -> (N, classes). With ``hold``, linear in x for autograd."""
        return self.scores(x, hold).mean((2, 3)) / self.temperature

    def forward(self, x: Tensor, hold: bool = False) -> Tensor:
        """Logits: (N, 6, H, W) in 0..1 -> (N, classes)."""
        return self.evidence(x, hold) + self.bias

    def run(self, rgb: Tensor, tape: Tape = Tape()) -> Forward:
        """One forward pass; rgb: (N, 3, H, W) in 0..1. Factors are held where the tape says so."""
        if self.program and whole_passes(tape):
            return self._run(self.program, rgb, keep=tape.hold)
        with recording(tape) as activations:
            x = self.encoded(rgb).requires_grad_(tape.start == "input")
            evidence = self.evidence(x, hold=tape.hold)
            logits = evidence.detach() + self.bias
        return Forward(x, evidence, logits, logits.new_full((self.classes,), self.bias), activations)

    def _run(self, program: Program, rgb: Tensor, keep: bool) -> Forward:
        """A pass without autograd, whose linear maps the program itself takes."""
        with torch.inference_mode(False), torch.no_grad():
            x = self.encoded(rgb)
            done = program.run(x, keep)
            evidence = done.scores.mean((2, 3)) / self.temperature
        logits = evidence + self.bias

        def pull(rows: Sequence[int], signs: Sequence[Mapping[int, float]]) -> Tensor:
            most = max(map(len, signs))
            padded = [[*each.items(), *[(0, 0.0)] * (most - len(each))] for each in signs]
            channels = torch.tensor([[index for index, _ in each] for each in padded], device=x.device)
            weights = x.new_tensor([[sign for _, sign in each] for each in padded]) / self.temperature
            with torch.inference_mode(False), torch.no_grad():
                return program.pull(done, rows, channels, weights)

        bias = logits.new_full((self.classes,), self.bias)
        return Forward(x, evidence, logits, bias, pull=pull if keep else None)


def whole_passes(tape: Tape) -> bool:
    """Whether a pass asks for no more than class scores and what is behind them: no layer is read or edited."""
    return (tape.hold or tape.start == "nowhere") and not tape.layers and not tape.edits
