"""What is explained: from wishes that the forward pass must settle, to targets, to the numbers that they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from showcause.nets.base import Forward
from showcause.reply import ClassTarget, Difference, Neuron, Target
from showcause.wishes import TopK, Versus, Wish


@dataclass(frozen=True)
class Resolver:
    """Settles the wishes of one item of the batch. ranking: class indices, strongest first. labels: of all classes."""

    forward: Forward
    row: int
    ranking: Sequence[int]
    labels: Sequence[str]

    def __call__(self, wishes: Sequence[Wish]) -> list[Target]:
        """The targets that are meant, each once, in the order asked."""
        targets: list[Target] = []
        for wish in wishes:
            match wish:
                case Neuron():
                    targets.append(self._unit(wish))
                case Versus():
                    target = wish.target if wish.target is not None else self._strongest_but(wish.versus)
                    versus = wish.versus if wish.versus is not None else self._strongest_but(target)
                    targets.append(Difference(self._class(target), self._class(versus)))
                case TopK():
                    targets += [self._class(index) for index in self.ranking[: wish.count]]
                case int():
                    targets.append(self._class(wish))
        return list(dict.fromkeys(targets))

    def _class(self, index: int) -> ClassTarget:
        return ClassTarget(index, self.labels[index])

    def _strongest_but(self, other: int | None) -> int:
        return next(index for index in self.ranking if index != other)

    def _unit(self, wish: Neuron) -> Neuron:
        """Channel and place of the strongest activation among those that the wish leaves open."""
        activation = self.forward.activations[wish.layer][self.row].detach()  # [c,h,w]
        channel, row, column = 0, 0, 0
        if wish.channel is not None:
            channel, activation = wish.channel, activation[wish.channel : wish.channel + 1]
        if wish.place is not None:
            row, column = wish.place
            activation = activation[:, row : row + 1, column : column + 1]
        best = torch.unravel_index(activation.argmax(), activation.shape)
        return Neuron(wish.layer, channel + int(best[0]), (row + int(best[1]), column + int(best[2])))


def score(forward: Forward, row: int, target: Target) -> Tensor:
    """What the contributions of a target sum to, with its graph: a class's evidence, an activation, a difference."""
    match target:
        case ClassTarget():
            return forward.evidence[row, target.index]
        case Neuron(layer, int(channel), (y, x)):
            return forward.activations[layer][row, channel, y, x]
        case Difference(ClassTarget() as of, ClassTarget() as versus):
            return forward.evidence[row, of.index] - forward.evidence[row, versus.index]
    raise TypeError(f"{target!r} is not resolved")


def bias(forward: Forward, target: Target) -> float:
    """What is in the target's score besides the contributions: a class's bias, or the difference of two."""
    match target:
        case ClassTarget():
            return float(forward.bias[target.index])
        case Difference(ClassTarget() as of, ClassTarget() as versus):
            return float(forward.bias[of.index] - forward.bias[versus.index])
    return 0.0


def class_signs(target: Target) -> dict[int, float]:
    """How much each class's logit counts in the target's score."""
    match target:
        case ClassTarget():
            return {target.index: 1.0}
        case Difference(ClassTarget() as of, ClassTarget() as versus):
            return {of.index: 1.0, versus.index: -1.0}
    raise TypeError(f"{target!r} is no class and no difference of two")
