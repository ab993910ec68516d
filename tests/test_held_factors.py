"""Every B-cos network's W, against a twin whose factors are frozen numbers.

Completeness alone would not show it: these networks are homogeneous, so that the plain gradient times the input sums to
the logit as well. The twin records every factor in one pass and multiplies by those numbers in the next, so that its
ordinary gradient is the linear map by construction.
"""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from showcause.layers import bcos
from showcause.methods.linear_map import linear_map
from showcause.nets import NETS, build

SMALL = {
    "bcos_resnet18": {"width": 8},
    "bcos_vgg": {"stages": [[8, 8], [16], [16, 12]]},
}


@pytest.fixture(params=sorted(NETS))
def net(request):
    torch.manual_seed(0)
    net = build(request.param, 5, SMALL[request.param]).double()
    for module in net.modules():
        if isinstance(module, bcos.UncentredNorm2d):
            module.momentum = 1.0
    net.train()(bcos.add_inverse(torch.rand(8, 3, 32, 32).double()))  # calibrates the norms
    return net.eval().requires_grad_(False)


def test_w_is_the_gradient_of_the_network_with_frozen_factors(net, monkeypatch):
    rgb, targets, rows = torch.rand(3, 3, 32, 32).double(), torch.tensor([0, 4, 2]), torch.arange(3)
    forward = net.run(rgb, explain=True)
    found = linear_map(forward, rows, targets)

    x = bcos.add_inverse(rgb).requires_grad_()
    (plain,) = torch.autograd.grad(net.evidence(x)[rows, targets].sum(), x)

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
    evidence = net.evidence(x)
    (wanted,) = torch.autograd.grad(evidence[rows, targets].sum(), x)

    torch.testing.assert_close(evidence, forward.evidence)
    torch.testing.assert_close(found, wanted)
    contributions = (found * x.detach()).sum((1, 2, 3))
    torch.testing.assert_close(contributions, forward.evidence[rows, targets])
    cosines = cosine_similarity(found.flatten(1), plain.flatten(1))
    assert cosines.abs().max() < 0.95, "the plain gradient is another one"
    assert (plain.flatten(1).norm(dim=1) > 2 * found.flatten(1).norm(dim=1)).all()
