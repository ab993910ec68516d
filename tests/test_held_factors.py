"""Every B-cos network's W, of classes, differences and inner units, against a twin whose factors are frozen numbers.

Completeness alone would not show it: these networks are homogeneous, so that the plain gradient times the input sums to
the logit as well. The twin records every factor in one pass and multiplies by those numbers in the next, so that its
ordinary gradient is the linear map by construction.
"""

import pytest
import torch

from showcause.layers import bcos
from showcause.methods.linear_map import linear_map
from showcause.methods.targets import score
from showcause.nets import BCOS_NETS, build
from showcause.nets.base import Tape, layer_shapes, recording
from showcause.reply import ClassTarget, Difference, Neuron
from tests.small_models import calibrate

NARROW = {"blocks": (1, 1, 1, 1), "width": 8}
SMALL = {
    "bcos_resnet18": NARROW,
    "bcos_resnet34": NARROW,
    "bcos_resnet50": NARROW,
    "bcos_resnet101": NARROW | {"blocks": (2, 1, 1, 1)},
    "bcos_resnet152": NARROW | {"blocks": (1, 2, 1, 1)},
    "bcos_densenet121": {"blocks": (2, 2, 1), "width": 8, "growth": 4},
    "bcos_vgg11": {"stages": ((8,), (8,), (12, 12)), "hidden": (16, 12)},
    "bcos_v1_vgg11": {"stages": ((8,), (8,), (12, 12)), "hidden": (16, 12), "temperature": 1.0},
    "bcos_v1_inception3": {"narrow": 16},
    "bcos_v1_cifar9": {"channels": (8, 8, 12), "strides": (1, 2, 1), "b": 1.5},
    "bcos_vgg": {"stages": [[8, 8], [16], [16, 12]]},
}
SIDE = {"bcos_v1_inception3": 79}  # the others take 32 pixels


@pytest.fixture(params=sorted(BCOS_NETS))
def net(request):
    torch.manual_seed(0)
    net = build(request.param, 5, SMALL[request.param]).double()
    net.side = SIDE.get(request.param, 32)
    return calibrate(net, net.side)


def freeze_factors(net, x, monkeypatch) -> None:
    """From now on every factor of ``net`` is the number that it is for ``x``."""
    factors: list[torch.Tensor] = []
    original = bcos.scale_by_cosine

    def record(out, norm, b, hold):
        scaled = original(out, norm, b, hold)
        factors.append((scaled / out).nan_to_num().detach())
        return scaled

    monkeypatch.setattr(bcos, "scale_by_cosine", record)
    net.evidence(x)
    replayed = iter(factors)
    monkeypatch.setattr(bcos, "scale_by_cosine", lambda out, *_: out * next(replayed))


def test_w_is_the_gradient_of_the_network_with_frozen_factors(net, monkeypatch):
    rgb, rows = torch.rand(3, 3, net.side, net.side).double(), range(3)
    layers = layer_shapes(net, rgb[:1])
    inner = list(layers)[len(layers) // 2]
    channels, height, width = layers[inner]
    targets = [ClassTarget(4, ""), Difference(ClassTarget(1, ""), ClassTarget(2, ""))]
    targets.append(Neuron(inner, channels - 1, (height // 2, width // 2)))
    forward = net.run(rgb, Tape(frozenset([inner]), "input", hold=True))
    scores = torch.stack([score(forward, row, target) for row, target in zip(rows, targets, strict=True)])
    found = linear_map(forward, scores, rows)

    x = bcos.add_inverse(rgb).requires_grad_()
    evidence = net.evidence(x)
    torch.testing.assert_close(evidence, forward.evidence)
    with recording(Tape(frozenset([inner]), "input")) as noted:
        evidence = net.evidence(x)
    unit = noted[inner][2, channels - 1, height // 2, width // 2]
    (plain,) = torch.autograd.grad(evidence[0, 4] + evidence[1, 1] - evidence[1, 2] + unit, x)

    freeze_factors(net, x, monkeypatch)
    with recording(Tape(frozenset([inner]), "input")) as noted:
        evidence = net.evidence(x)
    wanted = torch.stack(
        [evidence[0, 4], evidence[1, 1] - evidence[1, 2], noted[inner][2, channels - 1, height // 2, width // 2]]
    )
    torch.testing.assert_close(scores, wanted)
    (gradient,) = torch.autograd.grad(wanted.sum(), x)
    torch.testing.assert_close(found, gradient)
    torch.testing.assert_close((found * x.detach()).sum((1, 2, 3)), scores)
    for row in rows:
        assert (found[row] - plain[row]).norm() > 0.3 * found[row].norm(), "the plain gradient is another one"


def test_every_layer_can_be_asked(net):
    """By the name that it has in the state dict; the contributions of a unit sum to its activation (of 12 layers)."""
    rgb = torch.rand(1, 3, net.side, net.side).double()
    layers = layer_shapes(net, rgb)
    convolutions = {name for name, module in net.named_modules() if isinstance(module, bcos.BcosConv2d)}
    assert convolutions <= set(layers)
    assert all(size > 0 for shape in layers.values() for size in shape)
    forward = net.run(rgb, Tape(frozenset(layers), "input", hold=True))
    for number, (name, (channels, height, width)) in enumerate(layers.items()):
        assert forward.activations[name].shape == (1, channels, height, width)
        if number % max(1, len(layers) // 12):
            continue
        value = score(forward, 0, Neuron(name, channels // 2, (height // 2, width // 2)))
        weights = linear_map(forward, value[None], [0])
        torch.testing.assert_close((weights * forward.x.detach()).sum(), value.detach(), msg=name)


def test_a_pass_that_reads_nothing_keeps_nothing(net):
    assert net.run(torch.rand(1, 3, net.side, net.side).double()).activations == {}
