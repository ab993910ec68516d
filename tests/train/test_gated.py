"""A network behind gates: three ways that agree, and layers that cannot be gated."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from showcause.model import load
from showcause.nets.base import Tape, layer_shapes, name_layers
from showcause.nets.ordinary import OrdinaryNet
from showcause.train.chip import random_gates
from showcause.train.gated import Gated, NotGated
from tests.small_models import write_model, write_parts_model, write_plain_model

SIZE = 64
SMALL = {"width": 4}


class Recorded:
    """A model of any module; ``batches``: the sizes of the batches that its last layer saw."""

    def __init__(self, module: nn.Module, classes: int = 3):
        torch.manual_seed(0)
        self.net, self.pooled, self.batches = OrdinaryNet(module.eval(), classes), None, []
        name_layers(self.net)
        self.layers = layer_shapes(self.net, torch.rand(1, 3, SIZE, SIZE))


class Concatenated(nn.Module):
    """torch.cat does not broadcast: behind ``second`` are as many rows as gates, and beside it is one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last(torch.cat([x, self.second(x).relu()], 1).amax((2, 3)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.second = nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.act(self.second(self.act(self.first(x)))).mean((2, 3)))


class OfTheWholeBatch(nn.Module):
    """Says something else of a photo in company: the quick way runs without an error, and is wrong."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, 4), nn.Linear(4, 3)
        self.seen = nn.Identity()

    def forward(self, x):
        beside = self.seen(x).shape[0]
        return self.last(self.first(x).relu().mean((2, 3))) * beside


def by_hand(model, layer, rgb, gates) -> torch.Tensor:
    """One gate at a time; the photo anew for each."""
    found = []
    for gate in gates:
        tape = Tape(edits={layer: lambda out, gate=gate: out * gate[None, :, None, None]})
        found.append(model.net.run(rgb[None], tape).logits)
    return torch.cat(found)


def gated_logits(model, layer, count=10):
    torch.manual_seed(1)
    rgb = torch.rand(3, *model_size(model))
    gates = torch.from_numpy(random_gates(count, model.layers[layer][0], 0)).float()
    gated = Gated(model, layer, torch.rand_like(rgb))
    gated.batch = 4  # so that there are several, and one that is not full
    return gated, gated.logits(rgb, gates), by_hand(model, layer, rgb, gates)


def model_size(model):
    return (SIZE, SIZE) if isinstance(model, Recorded) else (model.manifest.input.height, model.manifest.input.width)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return {
        "resnet": load(write_plain_model(store / "resnet", "plain_resnet18", **SMALL)),
        "alexnet": load(write_plain_model(store / "alexnet", "plain_alexnet", head="pooled", **SMALL)),
        "full": load(write_plain_model(store / "full", "plain_alexnet", hidden=8, **SMALL)),
        "parts": load(write_parts_model(store / "parts", 64)),
        "bcos": load(write_model(store / "bcos", "bcos_resnet18")),
        "dense": load(write_model(store / "dense", "bcos_densenet121")),
    }


@pytest.mark.parametrize(
    ("name", "layer", "way"),
    [
        ("resnet", "conv1", "from the layer on"),
        ("resnet", "layer1.0.conv1", "from the layer on"),  # beside a shortcut of one row
        ("resnet", "layer2.0.conv2", "from the layer on"),  # beside one with a convolution
        ("resnet", "layer4.1", "closed form"),
        ("alexnet", "features.0", "from the layer on"),
        ("alexnet", "features.11", "closed form"),
        ("alexnet", "features.10", "from the layer on"),
        ("full", "features.10", "from the layer on"),
        ("parts", "top", "from the layer on"),
        ("parts", "parts", "closed form"),
        ("bcos", "layer3.1.conv2", "from the layer on"),
        ("dense", "features.denseblock1.denselayer2.conv2", "from the input on"),
    ],
)
def test_every_way_gives_what_one_gate_at_a_time_gives(models, name, layer, way):
    gated, found, wanted = gated_logits(models[name], layer)
    assert gated.way == way
    spread = (wanted - wanted[0]).abs().max()
    assert spread > 1e-3 * wanted.abs().max(), "the gates matter"
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3 * float(spread))


def test_a_network_that_cannot_broadcast_runs_from_the_input_on():
    gated, found, wanted = gated_logits(Recorded(Concatenated()), "second")
    assert gated.way == "from the input on"
    torch.testing.assert_close(found, wanted)
    gated, found, wanted = gated_logits(Recorded(Concatenated()), "first")
    assert gated.way == "from the layer on", "both branches have as many rows as gates"
    torch.testing.assert_close(found, wanted)


def test_a_quick_way_that_would_be_wrong_is_not_taken():
    gated, found, wanted = gated_logits(Recorded(OfTheWholeBatch()), "seen", 1)
    assert gated.way == "from the input on"
    torch.testing.assert_close(found, wanted)


def test_the_trunk_runs_on_one_photo(models):
    model, rows = models["resnet"], {}
    rgb, gates = torch.rand(3, SIZE, SIZE), torch.ones(8, model.layers["layer2.0.conv1"][0])
    gated = Gated(model, "layer2.0.conv1", rgb)
    modules = dict(model.net.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _, __, out, name=name: rows.update({name: len(out)}))
        for name in ("conv1", "layer1", "layer2.0.downsample", "layer2.0.bn1", "layer4", "fc")
    ]
    try:
        gated.logits(rgb, gates)
    finally:
        for handle in handles:
            handle.remove()
    assert rows == {"conv1": 1, "layer1": 1, "layer2.0.downsample": 1, "layer2.0.bn1": 8, "layer4": 8, "fc": 8}


def test_a_layer_that_runs_twice_is_refused():
    with pytest.raises(NotGated, match="act runs 2 times in one pass"):
        Gated(Recorded(Twice()), "act", torch.rand(3, SIZE, SIZE))
    Gated(Recorded(Twice()), "second", torch.rand(3, SIZE, SIZE))


@pytest.mark.parametrize(("shape", "batch"), [((4, 8, 8), 256), ((64, 512, 512), 1), ((8, 128, 128), 64)])
def test_the_batch_of_gates_is_bounded_by_the_largest_activation_above_the_layer(models, shape, batch):
    model = models["resnet"]
    wide = replace(model, layers={name: shape if name == "layer3" else (8, 2, 2) for name in model.layers})
    rgb = torch.rand(3, SIZE, SIZE)
    wide.layers["layer2.0.conv1"] = model.layers["layer2.0.conv1"]
    assert Gated(wide, "layer2.0.conv1", rgb).batch == batch
    wide.layers["layer4"] = model.layers["layer4"]
    assert Gated(wide, "layer4", rgb).batch == 256, "what lies below does not count"
