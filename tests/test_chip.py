"""CHIP, Refined and Guided CHIP: against the golden file and a slow twin, what must hold, what cannot be asked."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from showcause.channels import LayerWeights, write_distilled
from showcause.client.calls import explain_request
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.image import decode, frame_of, to_input
from showcause.manifest import ManifestError, read_manifest
from showcause.methods import METHODS, Ask
from showcause.methods.gradients import gradients
from showcause.model import load
from showcause.nets.base import Forward, Tape
from showcause.reply import ClassTarget, Difference, Neuron
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests import golden_files
from tests.reference import chip as slow
from tests.sameness import assert_same, opened
from tests.small_models import write_model, write_plain_model

NAMES = ("chip", "refined_chip", "guided_chip")
FIRST, MIDDLE, LAST = "features.0", "features.6", "features.11"
ALL = (0, 1, 2, 3)


def weights_of(layer, channels, classes=ALL) -> LayerWeights:
    """Random and sparse, of both signs."""
    rng = np.random.default_rng(len(layer) + channels)
    values = (rng.standard_normal((len(classes), channels)) + 0.3) * (rng.random((len(classes), channels)) < 0.5)
    return LayerWeights(layer, classes, values.astype(np.float32))


def distilled_model(folder, layers=((FIRST, 8), (MIDDLE, 48), (LAST, 32)), classes=ALL):
    write_plain_model(folder, "plain_alexnet", NAMES, head="pooled", width=8)
    write_distilled(read_manifest(folder), [weights_of(layer, channels, classes) for layer, channels in layers])
    return load(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return distilled_model(tmp_path_factory.mktemp("store") / "small")


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """One layer was distilled, for two of four classes."""
    return distilled_model(tmp_path_factory.mktemp("store") / "partial", ((LAST, 32),), (1, 3))


def call(photo, methods=NAMES, **wishes) -> Call:
    return Call("explain", explain_request(photo, methods=methods, **wishes).SerializeToString())


def ask(model, photo, *arguments, **wishes):
    return opened(explain(model, [call(photo, *arguments, **wishes)])[0])


def chip_of(layer, name="chip") -> method_pb2.Method:
    method = method_pb2.Method()
    getattr(method, name).layer = layer
    return method


def signed(target: int | tuple[int, int], layer: LayerWeights) -> np.ndarray:
    if isinstance(target, tuple):
        return layer.of(target[0]).astype(float) - layer.of(target[1])
    return layer.of(target).astype(float)


def test_the_golden_file_s_interpretation():
    stored = golden_files.arrays("chip")
    classes = len(stored["W"])
    layer = LayerWeights("conv", tuple(range(classes)), stored["W"])
    maps = torch.from_numpy(stored["A"])[None]
    forward = Forward(maps, torch.zeros(1, classes), torch.zeros(1, classes), torch.zeros(classes), {"conv": maps})
    method = chip_of("conv")
    asks = [Ask(0, ClassTarget(index, ""), method) for index in range(classes)]
    asks.append(Ask(0, Difference(ClassTarget(1, ""), ClassTarget(3, "")), method))
    found = METHODS["chip"].explain(forward, asks, SimpleNamespace(chip={"conv": layer}))
    wanted = [*stored["interpretation"], stored["interpretation"][1] - stored["interpretation"][3]]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.map, other, atol=1e-6 * np.abs(other).max())
    np.testing.assert_allclose(
        slow.interpretation(stored["W"][2], stored["A"]), stored["interpretation"][2], rtol=1e-12
    )


@pytest.mark.parametrize("target", [1, 3, (2, 1)])
def test_maps_are_those_of_the_slow_reference(model, photo, target):
    image = decode(photo)
    rgb = torch.from_numpy(to_input(image, frame_of(image.size, None, model.manifest.input)))[None]
    forward = model.net.run(rgb, Tape(frozenset([FIRST, MIDDLE, LAST]), "input"))
    as_target = (
        ClassTarget(target, "") if isinstance(target, int) else Difference(*(ClassTarget(i, "") for i in target))
    )
    slopes = gradients(forward, [Ask(0, as_target, method_pb2.Method())], forward.x, guided=True)[0].numpy()
    own = {
        name: slow.interpretation(signed(target, model.chip[name]), forward.activations[name][0].detach().numpy())
        for name in (FIRST, MIDDLE, LAST)
    }
    assert min(own[LAST].min(), own[FIRST].min()) < 0 < max(own[LAST].max(), own[FIRST].max()), "Eq. 10 has no ReLU"
    wanted = {
        "chip": (chip_of(MIDDLE), own[MIDDLE]),
        "refined_chip": ("refined_chip", slow.refined(own[FIRST], own[LAST])),
        "guided_chip": (chip_of(FIRST, "guided_chip"), slow.guided(own[FIRST], slopes)),
    }
    wish = target if isinstance(target, int) else Difference(*target)
    reply = ask(model, photo, [method for method, _ in wanted.values()], target=wish)
    for explanation, (name, (_, other)) in zip(reply.explanations, wanted.items(), strict=True):
        assert (explanation.method, explanation.kind) == (name, "post_hoc")
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(explanation.map, other, atol=1e-5 * np.abs(other).max())


def test_the_last_distilled_layer_is_the_default_and_the_receipt_says_so(model, photo):
    reply = ask(model, photo, target=1)
    named = ask(model, photo, [chip_of(LAST), "refined_chip", chip_of(LAST, "guided_chip")], target=1)
    assert_same(reply, named)
    chip, _, guided = reply.receipt["methods"]
    assert chip["method"]["chip"]["layer"] == guided["method"]["guided_chip"]["layer"] == LAST
    assert reply.receipt["chip_sha256"] == model.manifest.chip_sha256 != ""


def test_chip_keeps_no_graph_and_the_guided_one_does(model):
    for name, start in (("chip", "nowhere"), ("refined_chip", "nowhere"), ("guided_chip", "input")):
        method = METHODS[name].settle(method_pb2.Method(**{name: {}}), "methods[0]", (1,), model)
        tape = METHODS[name].needs(method, model)
        assert tape.start == start
        assert tape.layers == ({FIRST, LAST} if name == "refined_chip" else {LAST})


@pytest.fixture(scope="module")
def mixed(photos) -> list[Call]:
    wishes = [
        {},
        {"top_k": 3},
        {"target": [1, Difference(0, 2)], "methods": [chip_of(FIRST)]},
        {"methods": ["refined_chip"], "region": (10, 20, 200, 180)},
    ]
    return [call(photo, **wish) for photo, wish in zip(photos, wishes, strict=True)]


def test_a_batch_is_as_its_items_alone(model, mixed):
    for one, envelope in zip(mixed, explain(model, mixed), strict=True):
        assert_same(opened(envelope), opened(explain(model, [one])[0]))


def test_the_same_twice_and_in_many_threads(model, mixed):
    wanted = [opened(envelope) for envelope in explain(model, mixed)]
    with ThreadPoolExecutor(4) as pool:
        for envelopes in pool.map(lambda _: explain(model, mixed), range(8)):
            for found, other in zip(envelopes, wanted, strict=True):
                for one, twin in zip(opened(found).explanations, other.explanations, strict=True):
                    np.testing.assert_array_equal(one.map, twin.map)


def test_a_bcos_network_can_be_distilled_too(tmp_path, photo):
    folder = write_model(tmp_path / "bcos")
    toml = folder / "model.toml"
    toml.write_text(toml.read_text().replace('["linear_map"]', '["linear_map", "chip"]'))
    write_distilled(read_manifest(folder), [weights_of("layer3.0.conv1", 256)])
    reply = ask(load(folder), photo, ["linear_map", "chip"], target=2)
    assert [explanation.map.shape for explanation in reply.explanations] == [(64, 64), (4, 4)]
    assert reply.explanations[0].residual.relative < 1e-3, "the linear map still holds its factors"


COMMAND = "showcause train chip --model partial --layers {} --data DIR"


@pytest.mark.parametrize(
    ("methods", "wishes", "kind", "field", "said"),
    [
        ([chip_of("features.1O")], {}, InvalidArgument, "methods[0].chip.layer", "features.10"),
        ([chip_of(FIRST)], {}, FailedPrecondition, "methods[0].chip.layer", COMMAND.format(FIRST)),
        (
            [chip_of(FIRST, "guided_chip")],
            {},
            FailedPrecondition,
            "methods[0].guided_chip.layer",
            COMMAND.format(FIRST),
        ),
        (["refined_chip"], {"target": 1}, FailedPrecondition, "methods[0].refined_chip", COMMAND.format("FIRST,LAST")),
        (["chip"], {"target": 0}, FailedPrecondition, "targets[0]", "east, west; " + COMMAND.format(LAST)),
        (["chip"], {"target": [1, Difference(3, 2)]}, FailedPrecondition, "targets[1].difference.versus", "east, west"),
        (["chip"], {"target": Difference(1)}, FailedPrecondition, "targets[0].difference.versus", "east, west"),
        (["guided_chip"], {"top_k": 1}, FailedPrecondition, "targets[0].top_k", "east, west"),
        (["chip"], {}, FailedPrecondition, "targets[0].top_k", "east, west"),
        (["chip"], {"target": Neuron(LAST)}, FailedPrecondition, "targets[0].neuron", "class_index, label"),
        (["refined_chip"], {"target": Neuron(LAST)}, FailedPrecondition, "targets[0].neuron", "class_index, label"),
    ],
)
def test_what_cannot_be_explained_names_the_field_and_what_would_help(
    partial, photo, methods, wishes, kind, field, said
):
    with pytest.raises(kind) as caught:
        ask(partial, photo, methods, **({"target": 1} if not wishes and methods != ["chip"] else wishes))
    assert caught.value.field == field
    assert said in caught.value.allowed


def test_what_was_distilled_is_explained(partial, photo):
    reply = ask(partial, photo, ["chip", "guided_chip"], target=["west", Difference("east", "west")])
    assert len(reply.explanations) == 4


def test_a_model_in_which_nothing_was_distilled_names_the_command(tmp_path, photo):
    model = load(write_plain_model(tmp_path / "fresh", "plain_alexnet", NAMES, head="pooled", width=8))
    for name in NAMES:
        with pytest.raises(FailedPrecondition, match="showcause train chip --model fresh --layers"):
            ask(model, photo, [name])


def test_a_file_that_does_not_fit_the_network_is_refused_when_the_model_is_loaded(tmp_path):
    folder = write_plain_model(tmp_path / "small", "plain_alexnet", NAMES, head="pooled", width=8)
    write_distilled(read_manifest(folder), [weights_of("features.12", 8)])
    with pytest.raises(ManifestError, match=r"no layer 'features\.12'"):
        load(folder)
    write_distilled(read_manifest(folder), [weights_of(FIRST, 9)])
    with pytest.raises(ManifestError, match=r"features\.0 has 9 channels; allowed: 8"):
        load(folder)
    load(folder, with_chip=False)
