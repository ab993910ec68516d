"""Grad-CAM, CAM and the gradient methods: against the golden numbers, captum, and each other in one pass."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, LayerAttribution, LayerGradCam, Saliency
from torch import nn

from showcause.methods import METHODS, Ask
from showcause.methods.grad_cam import enlarged, weighted_maps
from showcause.methods.gradients import gradients, has_relu
from showcause.nets.base import Tape, layer_shapes, name_layers
from showcause.nets.ordinary import OrdinaryNet
from showcause.nets.pooled import last_grid, pooled_head
from showcause.reply import ClassTarget, Difference, Neuron
from showcause.v1 import method_pb2
from tests import golden_files
from tests.small_models import calibrated, lively


class Golden(nn.Module):
    """The network of the golden file; its ReLUs have names, as layers to be asked for."""

    def __init__(self):
        super().__init__()
        for index, (channels, out, stride) in enumerate(((3, 8, 1), (8, 16, 2), (16, 32, 2)), start=1):
            self.add_module(f"conv{index}", nn.Conv2d(channels, out, 3, stride, 1))
            self.add_module(f"bn{index}", nn.BatchNorm2d(out))
            self.add_module(f"relu{index}", nn.ReLU(inplace=True))
        self.fc = nn.Linear(32, 5)

    def forward(self, x):
        for index in (1, 2, 3):
            for kind in ("conv", "bn", "relu"):
                x = getattr(self, f"{kind}{index}")(x)
        return self.fc(x.mean((2, 3)))


def as_model(net: OrdinaryNet, rgb: torch.Tensor) -> SimpleNamespace:
    """What the methods ask of a model."""
    layers = layer_shapes(net, rgb[:1])
    last = last_grid(net, layers)
    rectified = has_relu(net.run(rgb[:1], Tape(start="input")))
    pooled = pooled_head(net, last, rgb[:1])
    return SimpleNamespace(net=net, layers=layers, last_grid=last, pooled=pooled, rectified=rectified)


@pytest.fixture(scope="module")
def golden():
    stored = golden_files.arrays("cam")
    module = Golden()
    state = {key.removeprefix("param/"): torch.from_numpy(v) for key, v in stored.items() if key.startswith("param/")}
    module.load_state_dict(state, strict=False)  # the file has no counts of batches
    net = OrdinaryNet(module.double().eval().requires_grad_(False), 5, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    name_layers(net)
    rgb = torch.from_numpy(stored["input_u8"]).double() / 255
    return SimpleNamespace(stored=stored, model=as_model(net, rgb), rgb=rgb)


def settled(model, name: str, **parameters) -> method_pb2.Method:
    method = method_pb2.Method()
    getattr(method, name).SetInParent()
    for key, value in parameters.items():
        setattr(getattr(method, name), key, value)
    return METHODS[name].settle(method, "methods[0]", (), model)


def explained(model, rgb, name: str, targets, **parameters) -> list[np.ndarray]:
    """Maps of one target a row, from a pass of the method's own."""
    method = settled(model, name, **parameters)
    forward = model.net.run(rgb, METHODS[name].needs(method, model))
    asks = [Ask(row, target, method) for row, target in enumerate(targets)]
    return [found.map for found in METHODS[name].explain(forward, asks, model)]


def assert_close(found, wanted, tolerance=1e-6) -> None:
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize("column", [0, 1])
def test_every_method_is_the_golden_one(golden, column):
    stored, model = golden.stored, golden.model
    targets = [ClassTarget(int(index), "") for index in stored["targets"][:, column]]
    forward = model.net.run(golden.rgb, Tape(start="input"))
    np.testing.assert_allclose(forward.logits, stored["logits"], atol=1e-9)
    asks = [Ask(row, target, method_pb2.Method()) for row, target in enumerate(targets)]
    assert_close(torch.stack(gradients(forward, asks, forward.x)), stored["saliency_signed"][:, column])
    guided = torch.stack(gradients(forward, asks, forward.x, guided=True))
    assert_close(guided, stored["guided_backprop"][:, column])
    for layer in ("relu3", "relu2"):
        for keep, kind in ((True, "_signed"), (False, "")):
            maps = explained(model, golden.rgb, "grad_cam", targets, layer=layer, keep_negative=keep)
            assert_close(maps, stored[f"gradcam_{layer}{kind}"][:, column, 0])
    assert_close(
        explained(model, golden.rgb, "gradient", targets), np.abs(stored["saliency_signed"][:, column]).max(1), 1e-5
    )
    assert_close(
        explained(model, golden.rgb, "input_x_gradient", targets), stored["input_x_gradient"][:, column].sum(1), 1e-5
    )
    assert_close(
        explained(model, golden.rgb, "guided_backprop", targets), np.abs(stored["guided_backprop"][:, column]).max(1)
    )
    both = model.net.run(golden.rgb, Tape(frozenset(["relu3"]), "input"))
    cams = weighted_maps(both, asks, ["relu3", "relu3"], model)
    products = [
        enlarged(cam.clamp_min(0), slope) * slope
        for cam, slope in zip(cams, gradients(both, asks, both.x, guided=True), strict=True)
    ]
    wanted = stored["guided_gradcam_bilinear"][:, column]
    assert_close(torch.stack(products), wanted)
    assert_close(explained(model, golden.rgb, "guided_grad_cam", targets), np.abs(wanted).max(1))


def test_the_default_layer_is_the_last_before_pooling(golden):
    assert golden.model.last_grid == "relu3"
    assert settled(golden.model, "grad_cam").grad_cam.layer == "relu3"
    assert settled(golden.model, "guided_grad_cam").guided_grad_cam.layer == "relu3"


def test_cam_is_what_each_place_adds_to_the_logit(golden):
    model, fc = golden.model, golden.model.net.module.fc
    torch.testing.assert_close(model.pooled.weights, fc.weight / 64)
    torch.testing.assert_close(model.pooled.bias, fc.bias, rtol=1e-9, atol=1e-9)
    forward = model.net.run(golden.rgb, METHODS["cam"].needs(settled(model, "cam"), model))
    assert not forward.evidence.requires_grad, "no gradient is needed"
    targets = [ClassTarget(1, ""), Difference(ClassTarget(2, ""), ClassTarget(0, ""))]
    asks = [Ask(row, target, method_pb2.Method()) for row, target in enumerate(targets)]
    maps = model.net.run(golden.rgb, Tape(frozenset(["relu3"]))).activations["relu3"]
    rows = (fc.weight[1], fc.weight[2] - fc.weight[0])
    for row, found in enumerate(METHODS["cam"].explain(forward, asks, model)):
        wanted = sum(float(rows[row][k]) * maps[row, k].numpy() / 64 for k in range(32))
        assert_close(found.map, wanted)
        assert found.evidence[0].relative < 1e-6
    assert found.evidence[0].score == pytest.approx(float(forward.logits[1, 2] - forward.logits[1, 0]))


def test_a_head_that_is_not_linear_is_no_pooled_head():
    torch.manual_seed(0)
    rgb = torch.rand(2, 3, 16, 16)
    trunk = [nn.Conv2d(3, 8, 3), nn.ReLU()]
    heads = {
        "hidden layer": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)],
        "a weight a place": [nn.Flatten(), nn.Linear(8 * 14 * 14, 4)],
        "a sigmoid": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), nn.Sigmoid()],
        "a clamp": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU6(), nn.Linear(8, 4)],
        "largest place": [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 4)],
    }
    for name, head in heads.items():
        net = OrdinaryNet(nn.Sequential(*trunk, *head).eval().requires_grad_(False), 4)
        name_layers(net)
        model = as_model(net, rgb)
        assert model.last_grid == "1"
        assert model.pooled is None, name
        assert not METHODS["cam"].suits(model)
        assert METHODS["grad_cam"].suits(model)


def ordinary(seed: int = 0) -> tuple[OrdinaryNet, nn.Module]:
    """A network with a branch beside, a module that runs twice, ReLUs in place and a hidden layer."""

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 2, 1)
            self.conv1, self.conv2 = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
            self.relu = nn.ReLU(inplace=True)
            self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = x + torch.relu_(self.conv2(self.relu(self.conv1(x))))
            return self.fc2(torch.relu(self.fc1(x.mean((2, 3)))))

    torch.manual_seed(seed)
    module = Branching().eval().requires_grad_(False)
    return OrdinaryNet(module, 4), module


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
def test_captum_finds_the_same():
    """Captum changes shared modules while it works; ours are asked first, and on the same module."""

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()
            self.conv, self.two = nn.Conv2d(8, 12, 3, 1, 1), nn.ReLU()
            self.pool, self.flat = nn.AdaptiveMaxPool2d(4), nn.Flatten()
            self.fc1, self.three, self.fc2 = nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)

        def forward(self, x):
            x = self.two(self.conv(self.one(self.stem(x))))
            return self.fc2(self.three(self.fc1(self.flat(self.pool(x)))))

    torch.manual_seed(1)
    module = Plain().double().eval()
    net = OrdinaryNet(module, 4)
    name_layers(net)
    rgb = torch.rand(3, 3, 20, 20).double()
    model, classes = as_model(net, rgb), [2, 0, 3]
    targets = [ClassTarget(index, "") for index in classes]
    assert model.last_grid == "two"
    ours = {name: explained(model, rgb, name, targets) for name in ("gradient", "guided_backprop", "grad_cam")} | {
        "conv": explained(model, rgb, "grad_cam", targets, layer="conv", keep_negative=True)
    }
    x = ((rgb - net.mean) / net.std).requires_grad_()
    assert_close(ours["gradient"], Saliency(module).attribute(x, classes).amax(1).numpy())
    assert_close(ours["guided_backprop"], GuidedBackprop(module).attribute(x, classes).abs().amax(1).detach().numpy())
    for layer, name, relu in ((module.two, "grad_cam", True), (module.conv, "conv", False)):
        wanted = LayerGradCam(module, layer).attribute(x, classes, relu_attributions=relu)[:, 0].detach()
        assert_close(ours[name], wanted.numpy())
    assert LayerAttribution.interpolate(wanted[:, None], (20, 20)).shape[-1] == 20


def test_one_pass_for_all_gives_what_each_gives_alone():
    net, module = ordinary()
    name_layers(net)
    rgb = torch.rand(2, 3, 24, 24)
    model = as_model(net, rgb)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    hooks = [len(layer._forward_hooks) + len(layer._backward_hooks) for layer in module.modules()]
    targets = [ClassTarget(1, ""), Difference(ClassTarget(2, ""), ClassTarget(3, ""))]
    wishes = {
        "gradient": {}, "input_x_gradient": {}, "guided_backprop": {}, "grad_cam": {"layer": "conv1"},
        "guided_grad_cam": {"layer": "stem"},
    }  # fmt: skip
    methods = {name: settled(model, name, **wish) for name, wish in wishes.items()}
    tape = Tape()
    for name, method in methods.items():
        tape = tape | METHODS[name].needs(method, model)
    forward = model.net.run(rgb, tape)
    for name, method in methods.items():
        alone = explained(model, rgb, name, targets, **wishes[name])
        asks = [Ask(row, target, method) for row, target in enumerate(targets)]
        for found, wanted in zip(METHODS[name].explain(forward, asks, model), alone, strict=True):
            assert_close(found.map, wanted, 1e-5)
    assert hooks == [len(layer._forward_hooks) + len(layer._backward_hooks) for layer in module.modules()]
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["ordinary", "bcos", "interpretable"])
def test_threads_do_not_disturb_each_other(kind):
    """Sixteen threads, guided and plain gradients mixed, on one network of each kind."""
    if kind == "ordinary":
        net, _ = ordinary()
        name_layers(net)
    else:
        net = calibrated("bcos_vgg", 4, 48, stages=[[8, 8], [16], [16, 12]]) if kind == "bcos" else lively(4, (0, 1, 2))
    side = 64
    torch.manual_seed(2)
    rgb = torch.rand(16, 3, side, side)
    model = as_model(net, rgb[:2])
    names = ("gradient", "guided_backprop", "grad_cam", "input_x_gradient", "guided_grad_cam", "linear_map")
    names = names if kind == "bcos" else names[:-1]

    def one(index: int) -> np.ndarray:
        targets = [ClassTarget(index % 4, "")]
        return explained(model, rgb[index : index + 1], names[index % len(names)], targets)[0]

    alone = [one(index) for index in range(16)]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            for found, wanted in zip(pool.map(one, range(16)), alone, strict=True):
                assert_close(found, wanted, 1e-4)
    assert len({array.tobytes() for array in alone}) == 16


def test_a_unit_inside_can_be_explained_by_gradients_of_the_input():
    net, module = ordinary()
    name_layers(net)
    rgb = torch.rand(1, 3, 24, 24)
    forward = net.run(rgb, Tape(frozenset(["conv2"]), "input"))
    ask = Ask(0, Neuron("conv2", 3, (4, 5)), method_pb2.Method())
    (found,) = gradients(forward, [ask], forward.x)
    x = ((rgb - net.mean) / net.std).requires_grad_()
    value = module.conv2(torch.relu(module.conv1(torch.relu(module.stem(x)))))[0, 3, 4, 5]
    torch.testing.assert_close(found, torch.autograd.grad(value, x)[0][0])


def test_the_graph_begins_no_lower_than_it_must():
    net, _ = ordinary()
    name_layers(net)
    forward = net.run(torch.rand(1, 3, 24, 24), Tape(frozenset(["conv2"]), "layers"))
    assert forward.activations["conv2"].is_leaf
    assert not forward.x.requires_grad
    assert forward.evidence.requires_grad
    assert not torch.is_grad_enabled() or net.run(torch.rand(1, 3, 24, 24)).evidence.requires_grad is False


def test_a_layer_that_the_score_does_not_depend_on_has_an_empty_map_and_harms_nobody():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.aside, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            self.aside(x)
            return self.fc(torch.relu(self.conv(x)).mean((2, 3)))

    torch.manual_seed(0)
    net = OrdinaryNet(Aside().eval().requires_grad_(False), 3)
    name_layers(net)
    rgb = torch.rand(2, 3, 8, 8)
    model = as_model(net, rgb)
    methods = [settled(model, "grad_cam", layer=layer, keep_negative=True) for layer in ("aside", "conv")]
    forward = net.run(rgb, METHODS["grad_cam"].needs(methods[0], model) | METHODS["grad_cam"].needs(methods[1], model))
    asks = [Ask(row, ClassTarget(row, ""), method) for row, method in enumerate(methods)]
    beside, good = METHODS["grad_cam"].explain(forward, asks, model)
    assert not beside.map.any()
    assert_close(
        good.map, explained(model, rgb[1:], "grad_cam", [ClassTarget(1, "")], layer="conv", keep_negative=True)[0]
    )


def test_guided_methods_are_not_offered_where_there_is_no_relu():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    net = OrdinaryNet(nn.Sequential(*layers).eval().requires_grad_(False), 3)
    name_layers(net)
    model = as_model(net, torch.rand(1, 3, 8, 8))
    suiting = {name for name, row in METHODS.items() if name != "filter_parts" and row.suits(model)}
    assert suiting == {"cam", "chip", "refined_chip", "grad_cam", "gradient", "input_x_gradient"}
