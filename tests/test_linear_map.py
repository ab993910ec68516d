"""B-cos ResNet-18 and its linear map, against the official implementation's numbers."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from showcause.methods import Ask, linear_map
from showcause.nets import build
from showcause.v1 import method_pb2
from tests import golden_files

GOLDEN = golden_files.arrays("bcos_resnet18")
RGB = torch.from_numpy(GOLDEN["input_u8"]).float() / 255
WITH_WEIGHTS = method_pb2.Method(linear_map=method_pb2.LinearMap(include_weights=True))
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module")
def net():
    net = build("bcos_resnet18", 10, {}).eval().requires_grad_(False)
    state = golden_files.state_dict("bcos_resnet18")
    assert list(net.state_dict()) == list(state), "keys in the official order"
    net.load_state_dict(state)
    return net


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("device", DEVICES)
def test_logits_are_the_official_ones(net, device):
    """Without the bias: a wrong network passes a relative test with it."""
    forward = net.to(device).run(RGB.to(device), explain=False)
    wanted = GOLDEN["logits_f64"] - GOLDEN["logit_bias"]
    assert relative(forward.evidence.cpu().numpy(), wanted) < 1e-4
    np.testing.assert_allclose(forward.logits.cpu().numpy(), GOLDEN["logits"], atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_linear_map_contributions_and_colors_are_the_official_ones(net, device):
    forward = net.to(device).run(RGB.to(device), explain=True)
    settled = linear_map.settle(WITH_WEIGHTS, "methods[0]")
    asks = [Ask(row, int(GOLDEN["targets"][row, k]), settled) for row in range(2) for k in range(2)]
    for ask, found in zip(asks, linear_map.explain(forward, asks), strict=True):
        at = ask.row, list(GOLDEN["targets"][ask.row]).index(ask.target)
        wanted, plain = GOLDEN["W"][at].ravel(), GOLDEN["plain_gradient"][at].ravel()
        weights = torch.from_numpy(found.weights).flatten()
        assert cosine_similarity(weights, torch.from_numpy(wanted), dim=0) > 0.9999
        assert cosine_similarity(weights, torch.from_numpy(plain), dim=0) < 0.3, "the factor must be held"
        assert relative(found.weights, GOLDEN["W"][at]) < 1e-3
        assert relative(found.map, GOLDEN["contribution"][at]) < 1e-3
        assert found.evidence[0].relative < 1e-4
        assert (np.abs(found.color() - GOLDEN["rgba"][at]) > 0.01).mean() < 1e-3


def test_color_picture_from_the_official_map():
    for at in np.ndindex(2, 2):
        weights, contribution = torch.from_numpy(GOLDEN["W"][at]), torch.from_numpy(GOLDEN["contribution"][at])
        np.testing.assert_allclose(linear_map.color_picture(weights, contribution), GOLDEN["rgba"][at], atol=1e-5)


def test_residual_is_exact_in_double(net):
    twin = build("bcos_resnet18", 10, {}).double().eval()
    twin.load_state_dict(net.state_dict())
    settled = linear_map.settle(method_pb2.Method(), "methods[0]")
    forward = twin.run(RGB.double(), explain=True)
    for found in linear_map.explain(forward, [Ask(0, 8, settled), Ask(1, 2, settled)]):
        assert found.evidence[0].relative < 1e-12


@pytest.mark.gpu
def test_bfloat16_on_a_gpu_costs_this_much(net):
    """Measured on a GPU: the direction of W survives bfloat16; its last digits do not."""
    twin = build("bcos_resnet18", 10, {}).to("cuda", torch.bfloat16).eval()
    twin.load_state_dict(net.state_dict())
    forward = twin.run(RGB.to("cuda", torch.bfloat16), explain=True)
    targets = torch.from_numpy(GOLDEN["targets"][:, 0]).cuda()
    weights = linear_map.linear_map(forward, torch.arange(2).cuda(), targets).float().cpu()
    cosines = cosine_similarity(weights.flatten(1), torch.from_numpy(GOLDEN["W"][:, 0]).flatten(1))
    print(f"cosine of W in bfloat16: {cosines.tolist()}")
    assert cosines.min() > 0.98


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (method_pb2.LinearMap(smoothing_px=2), r"smoothing_px: not allowed; got '2'; allowed: odd, 1 to 63"),
        (method_pb2.LinearMap(smoothing_px=65), "smoothing_px"),
        (method_pb2.LinearMap(opacity_percentile=101), "opacity_percentile"),
        (method_pb2.LinearMap(opacity_percentile=-1), "opacity_percentile"),
        (method_pb2.LinearMap(opacity_percentile=float("nan")), "opacity_percentile"),
    ],
)
def test_parameters_out_of_range_are_named(parameters, message):
    with pytest.raises(Exception, match=message):
        linear_map.settle(method_pb2.Method(linear_map=parameters), "methods[3]")
