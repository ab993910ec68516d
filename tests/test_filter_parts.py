"""Filter parts: what they add up to, which are listed, where they are, and what cannot be asked."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from showcause.client.calls import explain_request
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.image import decode, frame_of, to_input
from showcause.manifest import ManifestError, sha256_of
from showcause.model import load
from showcause.nets.base import Tape
from showcause.nets.interpretable import FullHead
from showcause.reply import Difference, Neuron, Rectangle
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests.reference import filter_parts as slow
from tests.sameness import opened
from tests.small_models import part_name, write_model, write_part_names, write_parts_model

LEARNED = ("north", "east", "south")
FILTERS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = write_parts_model(tmp_path_factory.mktemp("store") / "small-parts")
    write_part_names(folder, [part_name(number, "head") for number in range(0, FILTERS, 2)] + [part_name(1, "")])
    return load(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return load(write_parts_model(tmp_path_factory.mktemp("store") / "full-head", head="full", hidden=32))


def call(photo, *, parameters=None, **wishes) -> Call:
    methods = method_pb2.Method(filter_parts=method_pb2.FilterParts(**parameters)) if parameters else None
    return Call("explain", explain_request(photo, methods=methods, **wishes).SerializeToString())


def ask(model, photo, **wishes):
    return opened(explain(model, [call(photo, **wishes)])[0])


def masked_maps(model, photo, region=None) -> np.ndarray:
    image = decode(photo)
    rgb = torch.from_numpy(to_input(image, frame_of(image.size, region, model.manifest.input)))
    return model.net.run(rgb[None], Tape(frozenset(["parts"]))).activations["parts"][0].numpy()


@pytest.mark.parametrize(
    "parameters",
    [
        {"part_count": 5},
        {"part_count": FILTERS},
        {"part_count": FILTERS, "include_negative": True},
        {"part_count": 3, "include_negative": True},
        {"part_count": FILTERS, "minimum_share": 0.04, "include_negative": True},
        {"part_count": FILTERS, "minimum_share": 1.0},
    ],
)
def test_parts_and_map_are_those_of_the_slow_reference(model, photos, parameters):
    asked = {"minimum_share": 0.0, "include_negative": False} | parameters
    for photo in photos:
        maps = masked_maps(model, photo)
        reply = ask(model, photo, top_k=4, parameters=parameters)
        for explanation in reply.explanations:
            given = slow.contributions(maps, model.net.head.last.weight[explanation.target.index].numpy())
            np.testing.assert_allclose(explanation.map, given.sum(0), atol=1e-5 * np.abs(given).max())
            wanted = slow.listed(maps, given, **asked)
            assert [part.filter for part in explanation.parts] == [number for number, _, _ in wanted]
            for part, (number, contribution, share) in zip(explanation.parts, wanted, strict=True):
                assert part.contribution == pytest.approx(contribution, rel=1e-4)
                assert part.share == pytest.approx(share, rel=1e-4)
                assert part.activation == pytest.approx(float(maps[number].max()), rel=1e-5)


def test_contributions_sum_to_the_logit_whatever_is_listed(model, photos):
    for photo in photos:
        reply = ask(model, photo, top_k=4, parameters={"part_count": FILTERS, "include_negative": True})
        for explanation, prediction in zip(reply.explanations, reply.predictions, strict=True):
            evidence = explanation.residual
            assert explanation.kind == "inherent"
            assert evidence.score == pytest.approx(prediction.logit, rel=1e-5)
            assert evidence.bias == pytest.approx(float(model.net.bias[prediction.index]))
            assert evidence.relative < 1e-5
            assert sum(part.contribution for part in explanation.parts) == pytest.approx(
                evidence.contribution_sum, rel=1e-4
            )
            assert sum(abs(part.share) for part in explanation.parts) == pytest.approx(1, rel=1e-5)
            assert explanation.map.sum() == pytest.approx(evidence.contribution_sum, rel=1e-4)
        few = ask(model, photo, parameters={"part_count": 1}).explanation
        assert few.residual == reply.explanations[0].residual, "over all filters"


def test_a_difference_is_the_difference_of_two_classes(model, photo):
    given = {"part_count": FILTERS, "include_negative": True}
    north, east, there = ask(model, photo, target=["north", "east", Difference("north", "east")],
                             parameters=given).explanations  # fmt: skip
    np.testing.assert_allclose(there.map, north.map - east.map, atol=1e-4 * np.abs(north.map).max())
    one, other = ({part.filter: part.contribution for part in each.parts} for each in (north, east))
    for part in there.parts:
        assert part.contribution == pytest.approx(one[part.filter] - other[part.filter], abs=1e-4)
    assert there.residual.bias == pytest.approx(north.residual.bias - east.residual.bias)
    assert there.residual.score == pytest.approx(north.residual.score - east.residual.score, abs=1e-4)


def test_a_full_head_is_approximate_and_says_so(full, photo):
    """Contributions are the gradient times the maps, here by a difference quotient along the maps themselves."""
    explanation = ask(full, photo, target="north", parameters={"part_count": FILTERS}).explanation
    assert explanation.kind == "post_hoc"
    assert full.manifest.kind_of("filter_parts") == "post_hoc"
    assert isinstance(full.net.head, FullHead)
    maps = torch.from_numpy(masked_maps(full, photo))[None].double()
    head = copy.deepcopy(full.net.head).double()
    step = 1e-6
    change = (head(maps * (1 + step)) - head(maps * (1 - step)))[0, 0] / (2 * step)
    assert explanation.residual.contribution_sum == pytest.approx(float(change), rel=1e-3)
    assert explanation.residual.relative > 1e-4, "what the approximation misses stands there"


def assert_same_parts(found, wanted) -> None:
    for one, other in zip(found.explanations, wanted.explanations, strict=True):
        assert [part.filter for part in one.parts] == [part.filter for part in other.parts]
        np.testing.assert_allclose(one.map, other.map, atol=1e-4 * np.abs(other.map).max())
        for part, twin in zip(one.parts, other.parts, strict=True):
            assert (part.category, part.name, part.center) == (twin.category, twin.name, twin.center)
            assert part.contribution == pytest.approx(twin.contribution, rel=1e-3)
            assert len(part.outlines) == len(twin.outlines)
            for edge in ("x_min", "y_min", "x_max", "y_max"):
                assert getattr(part.box, edge) == pytest.approx(getattr(twin.box, edge), abs=0.1)


@pytest.fixture(scope="module")
def mixed(photos) -> list[Call]:
    wishes = [{}, {"top_k": 3}, {"target": ["east", Difference("south", "north")]}, {"region": (20, 30, 250, 200)}]
    calls = [call(photo, parameters={"part_count": 4, "include_negative": bool(n % 2)}, **wish)
             for photo in photos for n, wish in enumerate(wishes)]  # fmt: skip
    return calls


def test_a_batch_is_the_same_as_singles(model, mixed):
    for one, envelope in zip(mixed, explain(model, mixed), strict=True):
        assert_same_parts(opened(envelope), opened(explain(model, [one])[0]))


def test_two_threads_are_the_same_as_one_and_so_is_a_second_time(model, mixed):
    wanted = [opened(envelope) for envelope in explain(model, mixed)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: explain(model, mixed), range(4)))
    for envelopes in found:
        for envelope, reply in zip(envelopes, wanted, strict=True):
            assert_same_parts(opened(envelope), reply)
    (first,), (second,) = (explain(model, mixed[:1]) for _ in range(2))
    assert opened(first).explanations[0].parts == opened(second).explanations[0].parts


def test_where_nothing_fires_there_are_no_parts_and_a_residual(model, photo):
    net = copy.deepcopy(model.net)
    net.parts.conv.bias[:] = -1e6
    silent = replace(model, net=net, passes=net)
    explanation = ask(silent, photo, target="north", pictures=["overlay", "tiles", "heat_map"]).explanation
    assert explanation.parts == ()
    assert not explanation.map.any()
    assert explanation.residual.contribution_sum == 0
    assert explanation.residual.score == explanation.residual.bias == pytest.approx(float(net.bias[0]))
    assert explanation.residual.relative == 0
    assert [picture.kind for picture in explanation.pictures] == ["overlay", "tiles", "heat_map"]


def test_a_filter_that_did_not_fire_is_no_part(model, photo):
    net = copy.deepcopy(model.net)
    net.parts.conv.bias[1:] = -1e6
    parts = ask(
        replace(model, net=net, passes=net), photo, parameters={"part_count": FILTERS, "include_negative": True}
    )
    assert [part.filter for part in parts.explanation.parts] == [0]
    assert parts.explanation.parts[0].share in (-1, 1)


def test_categories_names_and_digests(model, photo):
    reply = ask(model, photo, parameters={"part_count": FILTERS, "include_negative": True})
    for part in reply.explanation.parts:
        named = part.filter % 2 == 0
        assert part.layer == "parts"
        assert part.category == LEARNED[part.filter % 3]
        found = part.name, part.name_agreement, part.name_chance
        assert found == (("head", 0.7, 0.3) if named else ("", 0, 0))
        assert str(part) == (f"{part.category} head" if named else f"filter {part.filter}")
    assert reply.receipt["parts_sha256"] == sha256_of(model.manifest.folder / "parts.json")
    settled = reply.receipt["methods"][0]["method"]["filter_parts"]
    assert settled == {"part_count": FILTERS, "minimum_share": 0.0, "include_negative": True}


def test_default_parameters(model, full, photo):
    assert len(ask(model, photo, parameters={}).explanation.parts) == 5
    reply = ask(full, photo)
    assert reply.receipt["methods"][0]["method"]["filter_parts"]["part_count"] == 5
    assert reply.receipt["parts_sha256"] == ""


@pytest.mark.parametrize("preprocessing", ["squash", "center_crop", "letterbox"])
@pytest.mark.parametrize("region", [None, (40.0, 20.0, 250.0, 280.0)])
def test_centres_follow_the_receptive_fields(tmp_path, photo, chelsea, preprocessing, region):
    """Unit (i, j) of AlexNet's parts sits at 15.5 + 16 j, 15.5 + 16 i of 128 input pixels."""
    model = load(write_parts_model(tmp_path / "model", preprocessing=preprocessing))
    reply = ask(model, photo, region=region, parameters={"part_count": FILTERS, "include_negative": True})
    seen = reply.frame.seen
    maps = masked_maps(model, photo, Rectangle(*region) if region else None)
    assert len(reply.explanation.parts) > 3
    for part in reply.explanation.parts:
        i, j = np.unravel_index(maps[part.filter].argmax(), maps.shape[1:])
        x = seen.x_min + (15.5 + 16 * j) / 128 * seen.width
        y = seen.y_min + (15.5 + 16 * i) / 128 * seen.height
        x, y = min(max(x, 0, seen.x_min), chelsea.width), min(max(y, 0, seen.y_min), chelsea.height)
        assert part.center == pytest.approx((x, y))
        assert part.box.x_min - 0.01 <= x <= part.box.x_max + 0.01 or not part.outlines
        assert part.box.y_min - 0.01 <= y <= part.box.y_max + 0.01 or not part.outlines


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"part_count": 0},
            r"methods\[0\].filter_parts.part_count: .*got '0'; allowed: 1 to 24, the number of filters",
        ),
        ({"part_count": FILTERS + 1}, "part_count: .*got '25'; allowed: 1 to 24"),
        ({"part_count": -1}, "part_count"),
        ({"part_count": 10**9}, "part_count"),
        ({"minimum_share": 1.01}, r"filter_parts.minimum_share: .*got '1.01'; allowed: 0 to 1"),
        ({"minimum_share": -0.1}, "minimum_share"),
        ({"minimum_share": float("nan")}, "minimum_share"),
    ],
)
def test_parameters_out_of_range_are_named(model, photo, parameters, text):
    with pytest.raises(InvalidArgument, match=text):
        ask(model, photo, parameters=parameters)


@pytest.mark.parametrize(
    ("target", "field", "value", "allowed"),
    [
        ("west", r"targets[0]", "west", "north, east, south"),
        (3, r"targets[0]", "west", "north, east, south"),
        (["north", Difference("east", "west")], r"targets[1].difference.versus", "west", "north, east, south"),
        (Difference("west"), r"targets[0].difference.target", "west", "north, east, south"),
        (Neuron("parts", 2), r"targets[0].neuron", "parts:2", "class_index, label, top_k or difference"),
    ],
)
def test_targets_that_no_filter_speaks_for_are_named(model, photo, target, field, value, allowed):
    with pytest.raises(FailedPrecondition) as caught:
        ask(model, photo, target=target)
    error = caught.value
    assert (error.reason, error.field, error.allowed) == ("METHOD_NOT_AVAILABLE", field, allowed)
    assert value in error.value


def test_top_k_is_answered_whatever_the_filters_have_learned(model, photo):
    labels = {explanation.target.label for explanation in ask(model, photo, top_k=4).explanations}
    assert labels == {*LEARNED, "west"}
    assert ask(model, photo, target=Difference()).explanation.parts


def test_networks_that_have_no_parts_are_refused_when_they_are_loaded(tmp_path):
    twin = write_parts_model(tmp_path / "twin", masked=False)
    with pytest.raises(ManifestError, match="methods names filter_parts; allowed: chip, refined_chip"):
        load(twin)
    for folder, old, new, allowed in (
        (write_model(tmp_path / "bcos", width=4), "linear_map", "filter_parts", "allowed: linear_map, chip"),
        (write_parts_model(tmp_path / "parts"), "filter_parts", "linear_map", "allowed: filter_parts, chip"),
    ):
        text = (folder / "model.toml").read_text()
        (folder / "model.toml").write_text(text.replace(f'["{old}"]', f'["{new}"]'))
        with pytest.raises(ManifestError, match=f"methods names {new}; {allowed}"):
            load(folder)


def test_an_input_that_makes_no_square_grid_is_refused_when_it_is_loaded(tmp_path):
    folder = write_parts_model(tmp_path / "wide")
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace("width = 128", "width = 256"))
    with pytest.raises(ManifestError, match=r"cannot run on an input of \(128, 256\): .*must be square"):
        load(folder)
