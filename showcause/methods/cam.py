"""Class activation mapping (Zhou et al.: CVPR 2016), for networks that pool one layer's maps and end in a linear head.

Each place's contribution to the score (Eq. 2), in the paper's own scale, in which a map sums to the logit minus its
bias. It needs no gradient: the head's weights are known.
"""

from collections.abc import Sequence

import torch

from showcause.methods.base import Ask, Attribution, Model
from showcause.methods.gradients import refuse_neurons
from showcause.methods.targets import class_signs
from showcause.nets.base import Forward, Tape
from showcause.nets.pooled import PooledHead
from showcause.reply import Residual
from showcause.v1 import method_pb2
from showcause.wishes import Wish


def suits(model: Model) -> bool:
    return model.pooled is not None


def settle(method: method_pb2.Method, field: str, wishes: Sequence[Wish], model: Model) -> method_pb2.Method:
    """There are no parameters."""
    refuse_neurons(wishes, "cam")
    return method


def needs(_: method_pb2.Method, model: Model) -> Tape:
    return Tape(frozenset([_head(model).layer]))


def explain(forward: Forward, asks: Sequence[Ask], model: Model) -> list[Attribution]:
    head = _head(model)
    maps = forward.activations[head.layer].detach()
    found = []
    for ask in asks:
        signs = class_signs(ask.target)
        bias = sum(sign * float(head.bias[index]) for index, sign in signs.items())
        score = sum(sign * float(forward.logits[ask.row, index]) for index, sign in signs.items())
        values = torch.einsum("k,khw->hw", head.slope(signs), maps[ask.row])
        residual = Residual(float(values.double().sum()), bias, score)
        found.append(Attribution(values.float().cpu().numpy(), (residual,)))
    return found


def _head(model: Model) -> PooledHead:
    """The model's head; ``suits`` was asked when it was loaded."""
    if model.pooled is None:
        raise TypeError("cam of a network without pooling and a linear head")
    return model.pooled
