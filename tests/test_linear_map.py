"""B-cos ResNet-18 and DenseNet-121 and their linear maps, against the official implementation's numbers."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from showcause.methods import Ask, linear_map
from showcause.nets import build
from showcause.nets.base import Tape
from showcause.nets.bcos import BcosNet
from showcause.reply import ClassTarget
from showcause.v1 import method_pb2
from tests import golden_files

NETWORKS = ["bcos_resnet18", "bcos_densenet121"]
WITH_WEIGHTS = method_pb2.Method(linear_map=method_pb2.LinearMap(include_weights=True))
HELD = Tape(start="input", hold=True)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@dataclass
class Case:
    name: str
    net: BcosNet
    golden: dict[str, np.ndarray]

    @property
    def rgb(self) -> torch.Tensor:
        return torch.from_numpy(self.golden["input_u8"]).float() / 255


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    net = build(request.param, 10, {}).eval().requires_grad_(False)
    state = golden_files.state_dict(request.param)
    assert list(net.state_dict()) == list(state), "keys in the official order"
    net.load_state_dict(state)
    return Case(request.param, net, golden_files.arrays(request.param))


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("device", DEVICES)
def test_logits_are_the_official_ones(case, device):
    """Without the bias: a wrong network passes a relative test with it."""
    forward = case.net.to(device).run(case.rgb.to(device), Tape())
    wanted = case.golden["logits_f64"] - case.golden["logit_bias"]
    assert relative(forward.evidence.cpu().numpy(), wanted) < 1e-4
    np.testing.assert_allclose(forward.logits.cpu().numpy(), case.golden["logits"], atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_linear_map_contributions_and_colors_are_the_official_ones(case, device):
    forward, golden = case.net.to(device).run(case.rgb.to(device), HELD), case.golden
    settled = linear_map.settle(WITH_WEIGHTS, "methods[0]")
    places = list(np.ndindex(2, 2))  # [image, target]
    asks = [Ask(row, ClassTarget(int(golden["targets"][row, k]), ""), settled) for row, k in places]
    for at, found in zip(places, linear_map.explain(forward, asks), strict=True):
        wanted, plain = golden["W"][at].ravel(), golden["plain_gradient"][at].ravel()
        weights = torch.from_numpy(found.weights).flatten()
        assert cosine_similarity(weights, torch.from_numpy(wanted), dim=0) > 0.9999
        assert cosine_similarity(weights, torch.from_numpy(plain), dim=0) < 0.3, "the factor must be held"
        assert relative(found.weights, golden["W"][at]) < 1e-3
        assert relative(found.map, golden["contribution"][at]) < 1e-3
        assert found.evidence[0].relative < 1e-4
        assert (np.abs(found.color() - golden["rgba"][at]) > 0.01).mean() < 1e-3


def test_color_picture_from_the_official_map(case):
    for at in np.ndindex(2, 2):
        weights, contribution = (torch.from_numpy(case.golden[key][at]) for key in ("W", "contribution"))
        np.testing.assert_allclose(linear_map.color_picture(weights, contribution), case.golden["rgba"][at], atol=1e-5)


def test_residual_is_exact_in_double(case):
    twin = build(case.name, 10, {}).double().eval()
    twin.load_state_dict(case.net.state_dict())
    settled = linear_map.settle(method_pb2.Method(), "methods[0]")
    forward = twin.run(case.rgb.double(), HELD)
    for found in linear_map.explain(forward, [Ask(row, ClassTarget(k, ""), settled) for row, k in ((0, 8), (1, 2))]):
        assert found.evidence[0].relative < 1e-12


def test_inference_mode_around_it_changes_nothing(case):
    with torch.inference_mode():
        forward = case.net.run(case.rgb, HELD)
    weights = linear_map.linear_map(forward, forward.evidence[range(2), [0, 0]], range(2))
    assert weights.abs().amax() > 0


@pytest.mark.gpu
def test_bfloat16_on_a_gpu_costs_this_much(case):
    """Measured on a GPU: the direction of W survives bfloat16; its last digits do not."""
    twin = build(case.name, 10, {}).to("cuda", torch.bfloat16).eval()
    twin.load_state_dict(case.net.state_dict())
    forward = twin.run(case.rgb.to("cuda", torch.bfloat16), HELD)
    scores = forward.evidence[range(2), case.golden["targets"][:, 0]]
    weights = linear_map.linear_map(forward, scores, range(2)).float().cpu()
    cosines = cosine_similarity(weights.flatten(1), torch.from_numpy(case.golden["W"][:, 0]).flatten(1))
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


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("share", [0.001, 0.37, 0.995, 1.0])
def test_the_quantile_is_torch_s(size, share):
    values = torch.rand(1, size)
    torch.testing.assert_close(linear_map.quantile(values, share), torch.quantile(values, share))
