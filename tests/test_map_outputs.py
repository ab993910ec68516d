"""What replies say of maps: boxes, agreement, test scores; methods mixed in one request, one batch and many threads."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest

from showcause.agreement import rank_correlation
from showcause.box import box_of, stretched
from showcause.client.calls import explain_request
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.manifest import ManifestError, sha256_of
from showcause.map_scores import MapScores, write_map_scores
from showcause.model import load
from showcause.outline import grid_over
from showcause.reply import Difference, Neuron, TestScore
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests.sameness import assert_same, opened
from tests.small_models import write_model, write_parts_model, write_plain_model

SHARED = ("grad_cam", "gradient", "input_x_gradient", "guided_backprop", "guided_grad_cam")
POOLED = {"head": "pooled", "width": 8, "added": 12}


def write_with(folder, methods, write, **options):
    """A model folder that answers ``methods`` besides its own."""
    write(folder, **options)
    text = (folder / "model.toml").read_text()
    own = "linear_map" if "linear_map" in text else "filter_parts"
    (folder / "model.toml").write_text(text.replace(f'["{own}"]', str([own, *methods]).replace("'", '"')))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "plain"
    return write_plain_model(folder, "plain_alexnet", (*SHARED, "cam"), 96, **POOLED)


@pytest.fixture(scope="module")
def models(plain, tmp_path_factory):
    """One of each kind."""
    store = tmp_path_factory.mktemp("kinds")
    bcos = write_with(store / "bcos", SHARED, write_model, network="bcos_vgg", stages=[[8, 8], [16], [16, 12]])
    parts = write_with(store / "parts", (*SHARED, "cam"), write_parts_model)
    return {"plain": load(plain), "bcos": load(bcos), "parts": load(parts)}


def call(photo, **wishes) -> Call:
    return Call("explain", explain_request(photo, **wishes).SerializeToString())


def ask(model, photo, **wishes):
    return opened(explain(model, [call(photo, **wishes)])[0])


@pytest.mark.parametrize("kind", ["plain", "bcos", "parts"])
def test_methods_together_give_what_each_gives_alone(models, photo, kind):
    model = models[kind]
    names = model.manifest.methods
    together = ask(model, photo, methods=names, top_k=2)
    assert [one.method for one in together.explanations] == [*names, *names]
    for name in names:
        alone = ask(model, photo, methods=name, top_k=2)
        for one, other in zip(
            [one for one in together.explanations if one.method == name], alone.explanations, strict=True
        ):
            np.testing.assert_allclose(one.map, other.map, atol=1e-4 * np.abs(other.map).max())
            assert one.kind == model.manifest.kind_of(name)
    assert len(together.agreements) == 2 * len(list(combinations(names, 2)))
    for agreement in together.agreements:
        one, other = (
            next(e.map for e in together.explanations if (e.method, e.target) == (method, agreement.target))
            for method in (agreement.method, agreement.other_method)
        )
        assert agreement.rank_correlation == pytest.approx(rank_correlation(one, other), abs=1e-6)
        assert -1 <= agreement.rank_correlation <= 1
    assert not ask(model, photo, methods=names[0]).agreements


def test_sixteen_threads_with_mixed_methods_are_the_same_as_one(models, photos):
    wishes = []
    for number in range(48):
        model = models[("plain", "bcos", "parts")[number % 3]]
        names = model.manifest.methods
        methods = [names[number % len(names)], names[(number // 3 + 1) % len(names)]]
        target = Difference("east", "north") if number % 5 == 0 else ("north", "east", "south")[number % 3]
        wishes.append((model, call(photos[number % 4], methods=dict.fromkeys(methods), target=target, box=True)))
    alone = [opened(explain(model, [one])[0]) for model, one in wishes]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda wish: opened(explain(wish[0], [wish[1]])[0]), wishes))
    for one, other in zip(found, alone, strict=True):
        assert_same(one, other)


def test_a_mixed_batch_is_the_same_as_singles(models, photos):
    model = models["plain"]
    calls = [
        call(photos[number % 4], methods=[name, "grad_cam"] if number % 2 and name != "grad_cam" else name, top_k=2)
        for number, name in enumerate(model.manifest.methods * 2)
    ]
    for one, envelope in zip(calls, explain(model, calls), strict=True):
        assert_same(opened(envelope), opened(explain(model, [one])[0]))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8])
def test_a_box_is_that_of_the_map_in_the_photo(models, photo, threshold):
    for model in models.values():
        reply = ask(model, photo, methods=model.manifest.methods, box=threshold)
        for one in reply.explanations:
            height, width = one.map.shape
            grid = stretched(reply.frame, height, width)
            if one.method == "filter_parts":
                field = model.net.receptive_field
                grid = grid_over(reply.frame, field.center, field.jump, width)
            assert one.box == box_of(one.map, grid, threshold)
            assert one.box is None or one.box_threshold == threshold
            if one.box is not None:
                assert 0 <= one.box.x_min < one.box.x_max <= reply.frame.photo_width
                assert 0 <= one.box.y_min < one.box.y_max <= reply.frame.photo_height


def test_test_scores_and_thresholds_are_quoted_from_the_model_folder(plain, photo, tmp_path):
    assert ask(load(plain), photo, methods="cam", box=True).explanation.box_threshold == 0.5, "not measured"
    score = TestScore("localization_accuracy", 0.52, 0.59, 857)
    write_map_scores(plain / "maps.json", {"cam": MapScores(0.15, (score,))})
    try:
        reply = ask(load(plain), photo, methods=["cam", "grad_cam"], box=True)
        cam, other = reply.explanations
        assert cam.test_scores == (score,)
        assert cam.residual.relative < 1e-4, "evidence of another kind stays"
        assert cam.box_threshold == 0.15
        assert other.test_scores == ()
        assert other.box_threshold == 0.5
        assert reply.receipt["maps_sha256"] == sha256_of(plain / "maps.json")
        assert ask(load(plain), photo, methods="cam", box=0.7).explanation.box_threshold == 0.7
    finally:
        (plain / "maps.json").unlink()
    for content, said in (
        ("{", "JSONDecodeError"),
        ('{"methods": {"lime": {"threshold": 0.5, "scores": []}}}', "methods.lime is no method"),
        (
            '{"methods": {"cam": {"threshold": 1.0, "scores": []}}}',
            "threshold is 1.0; allowed: a number from 0, below 1",
        ),
        ('{"methods": {"cam": {"threshold": 0.5, "scores": [{"measure": "x"}]}}}', "cam.scores.0. is"),
    ):
        broken = tmp_path / str(len(list(tmp_path.iterdir())))
        write_plain_model(broken, "plain_alexnet", ("cam",), 96, **POOLED)
        (broken / "maps.json").write_text(content)
        with pytest.raises(ManifestError, match=said):
            load(broken)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_thresholds_out_of_range_are_refused(models, photo, threshold):
    with pytest.raises(InvalidArgument) as caught:
        ask(models["plain"], photo, methods="cam", box=threshold)
    assert caught.value.field == "output.box.threshold"
    assert caught.value.allowed == "from 0, below 1"


@pytest.mark.parametrize("name", ["grad_cam", "guided_grad_cam"])
def test_an_unknown_layer_is_refused_with_near_names(models, photo, name):
    method = method_pb2.Method()
    getattr(method, name).layer = "featurs.8"
    with pytest.raises(InvalidArgument) as caught:
        ask(models["plain"], photo, methods=method)
    assert caught.value.field == f"methods[0].{name}.layer"
    assert caught.value.value == "featurs.8"
    assert "features.8" in caught.value.allowed


def test_any_layer_can_be_asked_for(models, photo):
    for model in models.values():
        for layer, (_, height, width) in model.layers.items():
            if layer == "avgpool" or height * width == 1:
                continue
            wish = method_pb2.Method(grad_cam=method_pb2.GradCam(layer=layer, keep_negative=True))
            reply = ask(model, photo, methods=wish)
            assert reply.explanation.map.shape == (height, width)
            assert reply.receipt["methods"][0]["method"]["grad_cam"] == {"layer": layer, "keep_negative": True}


@pytest.mark.parametrize("name", ["cam", "grad_cam", "guided_grad_cam"])
def test_units_inside_are_refused_where_a_method_cannot_explain_them(models, photo, name):
    with pytest.raises(FailedPrecondition) as caught:
        ask(models["plain"], photo, methods=name, target=Neuron("features.6", 3))
    assert caught.value.field == "targets[0].neuron"
    assert ask(models["plain"], photo, methods="gradient", target=Neuron("features.6", 3)).explanation.map.max() > 0


def test_cam_needs_pooling_and_a_linear_head(tmp_path, photo):
    full = write_plain_model(tmp_path / "full", "plain_alexnet", ("cam",), 96, width=8, hidden=16)
    with pytest.raises(ManifestError, match="methods names cam; allowed: chip, refined_chip"):
        load(full)
    text = (full / "model.toml").read_text()
    (full / "model.toml").write_text(text.replace('"cam"', '"grad_cam"'))
    with pytest.raises(FailedPrecondition) as caught:
        ask(load(full), photo, methods="cam")
    assert caught.value.field == "methods[0]"
    assert caught.value.value == "cam"


def test_cam_of_an_interpretable_network_is_the_map_of_its_parts(models, photo):
    cam, parts = ask(models["parts"], photo, methods=["cam", "filter_parts"]).explanations
    np.testing.assert_allclose(cam.map, parts.map, atol=1e-5 * np.abs(parts.map).max())
    assert cam.residual.score == pytest.approx(parts.residual.score, rel=1e-4)
