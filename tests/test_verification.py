"""Replies of all kinds of network, held against the same computed again: what is the same, and what is not."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from showcause.client.calls import explain_request
from showcause.commands.reply_file import Unreadable, open_reply
from showcause.model import load
from showcause.reply import Difference, Neuron, Picture, Rectangle, Reply, TestScore
from showcause.sameness import DIFFERS, NOT_CHECKED, SAME
from showcause.verification import COMPUTED_BY, DIGESTS, compare, compare_digests, computed_by
from showcause.wire import read_reply
from showcause.worker import Call, explain
from tests.reply_files import FORMS, answered
from tests.sameness import opened

WISHES = {
    "animals-bcos": {
        "methods": ["linear_map", "grad_cam", "gradient"], "target": ["cat", Difference("cat", "dog")], "weights": True,
        "pictures": ["overlay", "heat_map"], "box": True, "region": (20, 10, 430, 290),
    },
    "animals-parts": {"top_k": 2, "pictures": ["overlay", "tiles"], "box": 0.3},
    "animals-cnn": {"methods": ["cam", "grad_cam", "chip"], "pictures": ["heat_map"], "box": True},
}  # fmt: skip
COLOR = {"target": ["cat", Neuron("features.11"), Neuron("features.5", 7)], "pictures": ["color"]}


@pytest.fixture(scope="module")
def models(shipped, model):
    return {"animals-bcos": model} | {name: load(shipped.parent / name) for name in ("animals-parts", "animals-cnn")}


@pytest.fixture(scope="module")
def replies(models, photo) -> dict[str, Reply]:
    return {name: ask(models[name], photo, **wishes) for name, wishes in WISHES.items()}


def call(photo, **wishes) -> Call:
    return Call("explain", explain_request(photo, **wishes).SerializeToString())


def ask(model, photo, **wishes) -> Reply:
    return opened(explain(model, [call(photo, **wishes)])[0])


def differing(found: Reply, wanted: Reply) -> dict[str, str]:
    return {check.what: check.text for check in compare(found, wanted) if check.verdict == DIFFERS}


@pytest.mark.parametrize("name", WISHES)
def test_what_a_full_batch_answered_is_the_same_computed_alone(models, replies, photos, name):
    """Sums are rounded otherwise in a batch: the maps differ, by less than what is allowed."""
    wishes = WISHES[name]
    batch = [call(photo, **wishes) for photo in photos * 2]
    found = [opened(envelope) for envelope in explain(models[name], batch)]
    checks = compare(found[0], replies[name])
    assert {check.verdict for check in checks} == {SAME}
    assert len(checks) >= 10
    assert max(check.largest for check in checks if check.what.startswith("map of")) < 1e-4


def test_the_colour_picture_and_neurons_are_the_same(model, photos):
    found = [opened(envelope) for envelope in explain(model, [call(photo, **COLOR) for photo in photos])]
    for photo, reply in zip(photos, found, strict=True):
        assert differing(reply, ask(model, photo, **COLOR)) == {}


def with_explanation(reply: Reply, position: int = 0, **changes: object) -> Reply:
    explanations = list(reply.explanations)
    explanations[position] = replace(explanations[position], **changes)
    return replace(reply, explanations=tuple(explanations))


def with_value(array: np.ndarray, by: float) -> np.ndarray:
    """One value changed, by a fraction of the largest."""
    changed = array.copy()
    changed.flat[array.size // 2] += by * np.abs(array).max()
    return changed


@pytest.mark.parametrize("name", WISHES)
@pytest.mark.parametrize(("by", "text"), [(5e-5, None), (3e-4, "differs by 0.0003"), (0.3, "differs by 0.3 of")])
def test_one_changed_value_of_a_map(replies, name, by, text):
    reply = replies[name]
    one = reply.explanations[-1]
    changed = with_explanation(reply, -1, map=with_value(one.map, by))
    found = differing(changed, reply)
    assert list(found) == ([f"map of {one.target} by {one.method}"] if text else [])
    assert all(said.startswith(text) for said in found.values())


def test_one_changed_value_of_the_weights(replies):
    reply = replies["animals-bcos"]
    changed = with_explanation(reply, weights=with_value(reply.explanation.weights, 0.01))
    assert list(differing(changed, reply)) == ["weights of cat by linear_map"]
    gone = with_explanation(reply, weights=None, map=None, pictures=reply.explanation.pictures[:1])
    checks = {check.what: check.verdict for check in compare(gone, reply)}
    missing = ["map of cat by linear_map", "weights of cat by linear_map", "heat_map of cat by linear_map"]
    assert [what for what, verdict in checks.items() if verdict == NOT_CHECKED] == missing
    assert DIFFERS not in checks.values()


def painted(picture: Picture, share: float) -> Picture:
    import io

    from PIL import Image

    pixels = np.array(Image.open(io.BytesIO(picture.png)))
    count = int(np.ceil(share * picture.width * picture.height))
    flat = pixels.reshape(-1, pixels.shape[-1])
    flat[:count, 0] = np.where(flat[:count, 0] > 127, 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return replace(picture, png=buffer.getvalue())


@pytest.mark.parametrize("name", WISHES)
def test_a_changed_patch_of_a_picture(replies, name):
    reply = replies[name]
    one = reply.explanations[0]
    changed = with_explanation(reply, pictures=(painted(one.pictures[0], 0.002), *one.pictures[1:]))
    found = differing(changed, reply)
    assert list(found) == [f"{one.pictures[0].kind} of {one.target} by {one.method}"]
    speck = with_explanation(reply, pictures=(painted(one.pictures[0], 0.0005), *one.pictures[1:]))
    assert differing(speck, reply) == {}


def test_changed_predictions(replies):
    reply = replies["animals-cnn"]
    first, second = reply.predictions[:2]
    for predictions, what, text in (
        ((replace(first, label="dog"), second), "classes", "dog (5), "),
        ((second, first), "classes", "instead of cat (5)"),
        ((first, first), "classes", "cat (5), cat (5)"),
        ((replace(first, index=10**30), second), "classes", "instead of cat (5)"),
        ((), "classes", "none"),
        ((replace(first, logit=first.logit * 1.001), second), "logits", "differs by 0.001 of the maximum"),
        ((replace(first, probability=first.probability - 0.01), second), "probabilities", "differs by 0.01; allowed"),
    ):
        found = differing(replace(reply, predictions=tuple(predictions)), reply)
        assert list(found) == [what]
        assert text in found[what]
    assert differing(replace(reply, predictions=(first,)), reply) == {}, "fewer were asked for"
    assert list(differing(replace(reply, probability_kind="sigmoid"), reply)) == ["probabilities"]


def test_two_classes_with_the_same_logit_may_change_places(replies):
    reply = replies["animals-cnn"]
    first, second, *others = reply.predictions
    tied = replace(second, logit=first.logit - 1e-5 * first.logit, probability=first.probability)
    wanted = replace(reply, predictions=(first, tied, *others))
    assert differing(replace(reply, predictions=(tied, first, *others)), wanted) == {}
    assert differing(replace(reply, predictions=(tied,)), wanted) == {}, "the last one that was asked for"


def test_changed_facts_of_an_explanation(replies):
    reply = replies["animals-bcos"]
    one, residual = reply.explanation, reply.explanation.residual
    scores = one.test_scores
    for changes, what, text in (
        ({"kind": "post_hoc"}, "kind and test scores of cat by linear_map", "kind is post_hoc instead of inherent"),
        ({"evidence": (residual, replace(scores[0], value=0.99), *scores[1:])},
         "kind and test scores of cat by linear_map", "0.99"),
        ({"evidence": (residual, residual, *scores)}, "kind and test scores of cat by linear_map", "Residual"),
        ({"evidence": scores}, "kind and test scores of cat by linear_map", "evidence is ['TestScore'"),
        ({"evidence": (residual, *scores, TestScore("fidelity", 1.0, 0.0, 9))},
         "kind and test scores of cat by linear_map", "fidelity"),
        ({"evidence": (replace(residual, contribution_sum=residual.contribution_sum + 0.1), *scores)},
         "residual of cat by linear_map", "of the maximum"),
        ({"target": replace(one.target, label="lynx")}, "kind and test scores of cat by linear_map",
         "target is lynx instead of cat"),
        ({"pictures": (one.pictures[0], *one.pictures)}, "pictures of cat by linear_map", "several of a kind"),
        ({"box_threshold": 0.9}, "box of cat by linear_map", "cut at 0.9 instead of"),
        ({"box": replace(one.box, x_min=one.box.x_min - 9)}, "box of cat by linear_map", "differs by 9 px"),
        ({"box": Rectangle(0, 0, 1e308, 1e308)}, "box of cat by linear_map", "px"),
    ):  # fmt: skip
        found = differing(with_explanation(reply, **changes), reply)
        assert list(found) == [what]
        assert text in found[what]
    nothing = with_explanation(reply, box=None)
    assert differing(reply, nothing) == {"box of cat by linear_map": "there is one, and nothing in the map stands out"}


def test_explanations_that_are_missing_added_or_of_another_target(replies):
    reply = replies["animals-bcos"]
    one, two, *others = reply.explanations
    for explanations in ((two, *others), (one, one, two, *others), (two, one, *others), ()):
        found = differing(replace(reply, explanations=tuple(explanations)), reply)
        assert list(found) == ["explanations"]
        assert found["explanations"].endswith(
            "instead of cat by linear_map, cat by grad_cam, cat by gradient, cat, not dog by linear_map, "
            "cat, not dog by grad_cam, cat, not dog by gradient"
        )
    other = with_explanation(reply, target=replace(one.target, index=4, label="cattle"))
    assert "cattle by linear_map" in differing(other, reply)["explanations"]


def test_changed_parts(replies):
    reply = replies["animals-parts"]
    parts, target = reply.explanation.parts, reply.explanation.target
    first, *others = parts
    moved = tuple((x + 9, y) for x, y in first.outlines[0])
    name = f"parts of {target} by filter_parts"
    for changed, what, text in (
        ((replace(first, name="tail"), *others), name, f"filter {first.filter}.name is tail instead of {first.name}"),
        ((replace(first, name_agreement=0.99), *others), name, "name_agreement is 0.99"),
        (others, name, "of the filters"),
        ((replace(first, filter=10**6), *others), name, "1000000"),
        ((first, first, *others[1:]), name, "of the filters"),
        ((replace(first, activation=first.activation * 1.01), *others), f"activations of the {name}", "of the maximum"),
        ((replace(first, contribution=-first.contribution), *others), f"contributions of the {name}", "differs by 2"),
        ((replace(first, share=first.share + 0.01), *others), f"shares of the {name}", "of the maximum"),
        (parts[::-1], f"order of the {name}", "of the maximum"),
        ((replace(first, center=(first.center[0] + 9, first.center[1])), *others), f"places of the {name}", "9 px"),
        ((replace(first, outlines=(moved, *first.outlines[1:])), *others), f"places of the {name}", "9 px"),
        ((replace(first, outlines=()), *others), f"places of the {name}", "of another shape"),
        ((), name, "of the filters none"),
    ):
        found = differing(with_explanation(reply, parts=tuple(changed)), reply)
        assert list(found) == [what]
        assert text in found[what]


def test_changed_agreements_frame_and_settings(replies):
    reply = replies["animals-cnn"]
    one, *others = reply.agreements
    for changed, what in (
        ((replace(one, rank_correlation=one.rank_correlation - 0.01), *others), "agreement of cam and grad_cam on cat"),
        (tuple(others), "agreements"),
        ((one, *reply.agreements), "agreements"),
        ((replace(one, method="gradient"), *others), "agreements"),
        ((replace(one, target=replace(one.target, label="lynx")), *others), "agreement of cam and grad_cam on cat"),
    ):
        assert list(differing(replace(reply, agreements=changed), reply)) == [what]
    frame = replace(reply.frame, seen=replace(reply.frame.seen, x_min=1.0), preprocessing="letterbox")
    text = "seen.x_min is 1.0 instead of 0.0; preprocessing is letterbox instead of squash"
    assert differing(replace(reply, frame=frame), reply) == {"input frame": text}
    receipt = reply.receipt | {"region": {"x_min": 0.0}, "seed": "4"}
    found = differing(replace(reply, receipt=receipt), reply)["region and preprocessing"]
    assert "seed is 4 instead of nothing" in found
    assert "region is {'x_min': 0.0} instead of nothing" in found
    methods = [{"method": {"grad_cam": {"layer": "", "keep_negative": False}}, "method_version": 1}]
    found = differing(replace(reply, receipt=reply.receipt | {"methods": methods}), reply)
    assert found == {"parameters of grad_cam": "layer is '' instead of features.13"}


def leaves(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], object]]:
    """Texts, numbers and flags of a JSON value by their paths, of each list the first two."""
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else list(enumerate(value))[:2]:
            yield from leaves(entry, (*path, key))
    else:
        yield path, value


@pytest.mark.parametrize("form", FORMS)
def test_no_figure_of_a_reply_can_be_changed_unseen(models, photo, tmp_path, form):
    """Each that is in the file, but for times, the request's id, and what computed."""
    wishes = {"methods": ["filter_parts", "grad_cam"], "target": ["cat", "dog"], "box": True, "map_dtype": "uint8"}
    message = answered(models["animals-parts"], photo, region=(5, 5, 400, 300), **wishes)
    path, wanted = FORMS[form](message, tmp_path), read_reply(message)
    text, seen = path.read_text(), 0
    for keys, value in leaves(json.loads(text)):
        if keys[0] in ("timings", "request_id") or value is None or {*COMPUTED_BY, *DIGESTS, "data"}.intersection(keys):
            continue
        table = parent = json.loads(text)
        for key in keys[:-1]:
            parent = parent[key]
        if isinstance(value, str):
            parent[keys[-1]] = f"{value}x"
        else:
            parent[keys[-1]] = not value if isinstance(value, bool) else value * 2 or 99
        path.write_text(json.dumps(table))
        try:
            changed = open_reply(path)
        except Unreadable:
            continue
        seen += 1
        assert changed.noticed or differing(changed.reply, wanted), f"{keys} was {value} and is {parent[keys[-1]]}"
    assert seen > 100


def test_digests_and_what_computed(replies, models):
    reply = replies["animals-cnn"]
    receipt = reply.receipt
    own = {key: value for key, value in receipt.items() if key.endswith("_sha256")}
    assert {check.verdict for check in compare_digests(receipt, own)} == {SAME}
    names = [check.what for check in compare_digests(receipt, own)]
    assert names == ["weights.safetensors", "model.toml", "labels.txt", "chip.safetensors", "maps.json", "photo"]
    changed = own | {"weights_sha256": "a" * 64, "parts_sha256": "b" * 64, "maps_sha256": ""}
    assert [check.text for check in compare_digests(receipt, changed) if check.verdict == DIFFERS] == [
        f"another file, of SHA-256 {'a' * 64} instead of {receipt['weights_sha256']}",
        "there is one, and there was none",
        f"there is none; wanted is SHA-256 {receipt['maps_sha256']}",
    ]
    assert computed_by(receipt, receipt) == []
    assert computed_by(receipt, receipt | {"device": "cuda:0"}) == ["device was cpu, and is cuda:0 here"]
    assert differing(replace(reply, receipt=receipt | {"device": "cuda:0", "showcause_version": "9"}), reply) == {}
