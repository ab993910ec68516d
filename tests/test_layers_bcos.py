"""Single B-cos layers: 72 official cases, and the slow reference."""

import numpy as np
import pytest
import torch

from showcause.layers.bcos import BcosConv2d, BcosLinear, UncentredNorm2d, add_inverse
from tests import golden_files
from tests.reference import bcos as reference

GOLDEN = golden_files.arrays("bcos_layers")
CASES = golden_files.facts("bcos_layers")["cases"]


def layer_of(case: dict) -> torch.nn.Module:
    weight = torch.from_numpy(GOLDEN[f"{case['id']}.weight"]).double()
    if case["type"] == "BcosLinear":
        layer = BcosLinear(weight.shape[1], len(weight) // case["max_out"], b=case["b"], max_out=case["max_out"])
    else:
        layer = BcosConv2d(
            case["cin"],
            case["cout"],
            case["kernel"],
            case["stride"],
            case["padding"],
            case["groups"],
            b=case["b"],
            max_out=case["max_out"],
        )
    layer.double().load_state_dict({"linear.weight": weight})
    return layer


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_official_layers(case: dict):
    layer, name = layer_of(case), case["id"]
    v = torch.from_numpy(GOLDEN[f"{name}.v"]).double()
    for hold, key in ((True, "grad_expl"), (False, "grad_plain")):
        x = torch.from_numpy(GOLDEN[f"{name}.x"]).double().requires_grad_()
        y = layer(x, hold)
        np.testing.assert_allclose(y.detach().numpy(), GOLDEN[f"{name}.y"], rtol=0, atol=1e-10)
        (gradient,) = torch.autograd.grad((v * y).sum(), x)
        np.testing.assert_allclose(gradient.numpy(), GOLDEN[f"{name}.{key}"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_layers_apply_the_map_of_the_definition(case: dict):
    """The gradient with the factor held is the matrix that the slow reference writes down."""
    weight, x = GOLDEN[f"{case['id']}.weight"].astype(float), GOLDEN[f"{case['id']}.x"][0].astype(float)
    if case["type"] == "BcosLinear":
        out, matrix = reference.linear(x, weight, case["b"], case["max_out"])
    else:
        keys = ("b", "max_out", "stride", "padding", "groups")
        out, matrix = reference.conv(x, weight, *(case[key] for key in keys))
    tensor = torch.from_numpy(x)[None].requires_grad_()
    y = layer_of(case)(tensor, True)[0]
    np.testing.assert_allclose(y.detach().numpy(), out, rtol=0, atol=1e-10)
    rows = [torch.autograd.grad(value, tensor, retain_graph=True)[0].flatten() for value in y.flatten()]
    np.testing.assert_allclose(torch.stack(rows).numpy(), matrix, rtol=0, atol=1e-10)


def test_uncentred_norm_divides_by_the_centred_deviation_and_keeps_it():
    x = torch.randn(16, 3, 5, 5) * torch.tensor([1.0, 2.0, 5.0])[:, None, None] + 3
    norm = UncentredNorm2d(3, momentum=1.0).train()
    expected = x / (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()[:, None, None]
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm.eval()(x), expected)
    assert norm.running_mean.eq(0).all()


def test_add_inverse_sums_to_one_everywhere():
    rgb = torch.rand(2, 3, 4, 4)
    x = add_inverse(rgb)
    assert x.shape == (2, 6, 4, 4)
    torch.testing.assert_close(x[:, :3] + x[:, 3:], torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize(("b", "max_out"), [(0.5, 1), (2, 0)])
def test_impossible_exponents_are_refused(b: float, max_out: int):
    with pytest.raises(ValueError, match="at least 1"):
        BcosConv2d(3, 4, 3, b=b, max_out=max_out)
