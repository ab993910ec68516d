"""The whole path without a server: batches that mix everything, threads, and items that fail alone."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from showcause.client.calls import explain_request, predict_request
from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound
from showcause.image import decode, frame_of, to_input
from showcause.methods import METHODS
from showcause.nets.base import Tape
from showcause.reply import Difference, Neuron, Residual
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests.sameness import assert_same, opened


def explain_call(photo, **wishes) -> Call:
    return Call("explain", explain_request(photo, **wishes).SerializeToString())


def predict_call(photo, **wishes) -> Call:
    return Call("predict", predict_request(photo, **wishes).SerializeToString())


@pytest.fixture(scope="module")
def mixed_calls(photos, model) -> list[Call]:
    """32 calls, no two alike: photos, regions, targets, outputs, predict and explain."""
    wishes = [
        {"pictures": ["overlay"]},
        {"target": 3, "pictures": ["color", "heat_map"]},
        {"target": ["zebra", Neuron("features.8")], "map_dtype": "float16"},
        {"top_k": 3, "map_size": (40, 30)},
        {"region": (20, 30, 250, 200), "weights": True},
        {"target": Difference("lion", "cat"), "map_dtype": None, "pictures": ["color"]},
        {"methods": method_pb2.Method(linear_map=method_pb2.LinearMap(smoothing_px=5)), "pictures": ["color"]},
    ]
    calls = [explain_call(photo, prediction_count=1 + n, **wish) for photo in photos for n, wish in enumerate(wishes)]
    return calls + [predict_call(photo, prediction_count=7) for photo in photos]


def test_32_different_requests_in_one_batch_are_the_same_as_32_single_ones(model, mixed_calls):
    assert len({call.request for call in mixed_calls}) == 32
    together = explain(model, mixed_calls)
    for call, envelope in zip(mixed_calls, together, strict=True):
        (alone,) = explain(model, [call])
        assert_same(opened(envelope), opened(alone))


def test_eight_threads_are_the_same_as_one(model, mixed_calls):
    wanted = [opened(envelope) for envelope in explain(model, mixed_calls)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda call: explain(model, [call])[0], mixed_calls))
    for envelope, reply in zip(found, wanted, strict=True):
        assert_same(opened(envelope), reply)


def test_an_item_that_fails_fails_alone(model, photo):
    calls = [
        explain_call(photo),
        explain_call(photo[: len(photo) // 2]),
        Call("explain", b"\xff\xff\xff"),
        explain_call(photo, target=30),
        Call("explain", explain_request(photo).SerializeToString(), deadline=time.time() - 1),
        predict_call(photo),
    ]
    envelopes = explain(model, calls)
    (alone,) = explain(model, calls[:1])
    assert_same(opened(envelopes[0]), opened(alone))
    assert [p.label for p in opened(envelopes[5]).predictions] == [p.label for p in opened(alone).predictions]
    for envelope, kind, text in (
        (envelopes[1], InvalidArgument, "input.image: the bytes cannot be decoded"),
        (envelopes[2], InvalidArgument, "the bytes are no showcause.v1.ExplainRequest"),
        (envelopes[3], InvalidArgument, r"targets\[0\].class_index: not allowed; got '30'; allowed: 0 to 29"),
        (envelopes[4], DeadlineExceeded, "the deadline passed"),
    ):
        with pytest.raises(kind, match=text):
            opened(envelope)


def test_contributions_sum_to_the_logit(model, photos):
    for envelope in explain(model, [explain_call(photo, top_k=3, weights=True) for photo in photos]):
        reply = opened(envelope)
        assert len(reply.explanations) == 3
        for explanation, prediction in zip(reply.explanations, reply.predictions, strict=False):
            evidence = explanation.residual
            assert explanation.kind == "inherent"
            assert evidence.score == pytest.approx(prediction.logit, abs=1e-5)
            assert evidence.relative < 1e-4
            assert explanation.map.sum() == pytest.approx(evidence.contribution_sum, rel=1e-3, abs=1e-4)


def test_a_residual_that_is_no_number_is_told_as_the_worst(model, photo, monkeypatch):
    row = METHODS["linear_map"]

    def broken(*arguments):
        return [replace(found, evidence=(Residual(math.nan, 0.0, 1.0),)) for found in row.explain(*arguments)]

    def told() -> float:
        (envelope,) = explain(model, [explain_call(photo)])
        return Envelope.FromString(envelope).residuals["linear_map"]

    assert 0 <= told() < 1e-3
    monkeypatch.setitem(METHODS, "linear_map", replace(row, explain=broken))
    assert told() == math.inf


def test_weights_times_input_is_the_map(model, photo):
    (envelope,) = explain(model, [explain_call(photo, weights=True)])
    (explanation,) = opened(envelope).explanations
    image = decode(photo)
    rgb = to_input(image, frame_of(image.size, None, model.manifest.input))
    x = np.concatenate([rgb, 1 - rgb])
    np.testing.assert_allclose((explanation.weights * x).sum(0), explanation.map, atol=1e-6)


def test_a_tensor_is_answered_like_its_photo(model, photo):
    image = decode(photo)
    rgb = to_input(image, frame_of(image.size, None, model.manifest.input))
    by_photo, by_tensor = (opened(explain(model, [explain_call(data, weights=True)])[0]) for data in (photo, rgb))
    np.testing.assert_allclose(by_photo.explanation.weights, by_tensor.explanation.weights, atol=1e-6)
    assert by_tensor.frame.photo_width == 0


def test_uint8_map_is_within_half_a_step(model, photo):
    whole, coarse = (
        opened(explain(model, [explain_call(photo, map_dtype=dtype)])[0]).explanation.map
        for dtype in ("float32", "uint8")
    )
    assert np.abs(whole - coarse).max() <= np.ptp(whole) / 255 / 2 * 1.01


def test_the_network_is_left_as_it_was(model, photo):
    """No gradient, no hook, no mode of the shared modules changes."""
    hooks = [list(module._forward_hooks.values()) for module in model.net.modules()]
    explain(
        model, [explain_call(photo, top_k=2), explain_call(photo, target=Neuron("features.8")), predict_call(photo)]
    )
    for module, before in zip(model.net.modules(), hooks, strict=True):
        assert not module.training
        assert list(module._forward_hooks.values()) == before
        assert not module._backward_hooks
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.net.parameters())
    assert torch.is_grad_enabled()


def test_neurons_are_found_and_their_contributions_sum_to_their_activation(model, photo):
    layer = "features.11"
    channels, height, width = model.layers[layer]
    wishes = [Neuron(layer), Neuron(layer, 5), Neuron(layer, None, (3, 4)), Neuron(layer, channels - 1, (0, width - 1))]
    reply = opened(explain(model, [explain_call(photo, target=[*wishes, "cat"], weights=True)])[0])
    strongest, of_channel, at_place, exact, cat = reply.explanations

    rgb = torch.from_numpy(to_input(decode(photo), frame_of(decode(photo).size, None, model.manifest.input)))[None]
    activation = model.net.run(rgb, Tape(frozenset([layer]))).activations[layer][0]
    assert activation.shape == (channels, height, width)
    assert strongest.residual.score == pytest.approx(float(activation.max()), rel=1e-4)
    assert of_channel.residual.score == pytest.approx(float(activation[5].max()), rel=1e-4)
    assert at_place.residual.score == pytest.approx(float(activation[:, 3, 4].max()), rel=1e-4)
    assert exact.residual.score == pytest.approx(float(activation[-1, 0, -1]), rel=1e-4, abs=1e-6)
    assert exact.target == wishes[3]
    assert (of_channel.target.channel, at_place.target.place) == (5, (3, 4))
    for explanation in reply.explanations[:4]:
        channel, (row, column) = explanation.target.channel, explanation.target.place
        assert explanation.residual.score == pytest.approx(float(activation[channel, row, column]), rel=1e-4, abs=1e-6)
        assert explanation.residual.bias == 0
        assert explanation.residual.relative < 1e-3
    assert not exact.weights[:, :, : model.manifest.input.width // 2].any(), "a unit on the right sees nothing left"
    assert cat.target.label == "cat"
    assert cat.residual.bias == pytest.approx(model.net.bias)


def test_a_difference_is_the_difference_of_two_maps(model, photo):
    targets = ["cat", "dog", Difference("cat", "dog"), Difference("dog", "cat"), Difference(), Difference(None, "cat")]
    reply = opened(explain(model, [explain_call(photo, target=targets)])[0])
    cat, dog, there, back, strongest, against = reply.explanations
    np.testing.assert_allclose(there.map, cat.map - dog.map, atol=1e-4 * np.abs(cat.map).max())
    np.testing.assert_allclose(back.map, -there.map, atol=1e-4 * np.abs(there.map).max())
    assert there.residual.score == pytest.approx(cat.residual.score - dog.residual.score, abs=1e-4)
    assert there.residual.bias == 0
    first, second = reply.predictions[:2]
    assert str(strongest.target) == f"{first.label}, not {second.label}"
    assert (against.target.target.label, against.target.versus.label) == (
        second.label if first.label == "cat" else first.label,
        "cat",
    )


def test_unknown_layers_are_answered_with_near_ones(model, photo):
    envelopes = explain(model, [explain_call(photo, target=Neuron(name)) for name in ("feature.8", "")])
    with pytest.raises(NotFound, match=r"targets\[0\].neuron.layer: .*'feature.8'.*allowed: .*features.8") as caught:
        opened(envelopes[0])
    assert caught.value.reason == "LAYER_NOT_FOUND"
    with pytest.raises(NotFound, match=r"classifier.0"):
        opened(envelopes[1])


def test_receipt_says_what_was_computed(model, photo):
    reply = opened(explain(model, [explain_call(photo, region=(10, 10, 200, 200))])[0])
    receipt = reply.receipt
    assert receipt["weights_sha256"] == model.manifest.weights_sha256
    assert receipt["region"] == {"x_min": 10, "y_min": 10, "x_max": 200, "y_max": 200}
    assert receipt["methods"] == [
        {
            "method": {"linear_map": {"include_weights": False, "smoothing_px": 15, "opacity_percentile": 99.5}},
            "method_version": 1,
        }
    ]
    assert receipt["device"] == "cpu"
    assert len(receipt["input_sha256"]) == 64


def test_a_class_that_is_asked_for_twice_is_explained_once(model, photo):
    best = opened(explain(model, [predict_call(photo)])[0]).predictions[0]
    reply = opened(explain(model, [explain_call(photo, target=best.label, top_k=3)])[0])
    labels = [explanation.target.label for explanation in reply.explanations]
    assert labels[0] == best.label
    assert len(labels) == len(set(labels)) == 3


def test_a_reply_that_could_be_too_large_is_refused_before_it_is_computed(model, photo, monkeypatch):
    monkeypatch.setattr(type(model.net), "run", lambda *_: pytest.fail("the network ran"))
    call = explain_call(photo, top_k=16, map_size=(4096, 4096))
    with pytest.raises(InvalidArgument, match="could be too large; got 'up to 1073741824 bytes'"):
        opened(explain(model, [call])[0])


def test_an_error_of_ours_says_a_request_id_and_nothing_else(model, photo, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(type(model.net), "run", fail)
    calls = [Call("explain", explain_request(photo).SerializeToString(), request_id=f"id-{n}") for n in range(2)]
    for n, envelope in enumerate(explain(model, calls)):
        with pytest.raises(Internal, match=f"request id id-{n} finds it") as caught:
            opened(envelope)
        assert "secret" not in caught.value.message


def test_a_photo_is_explained_the_same_however_it_is_stored(model, chelsea):
    """EXIF-turned, alpha, palette, CMYK: what a viewer shows is what is explained; grey is served as grey."""
    from PIL import Image

    from tests.hostile_images import encoded

    wanted = opened(explain(model, [explain_call(encoded(chelsea, "PNG"))])[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(chelsea.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif.tobytes())
    opaque = encoded(chelsea.convert("RGBA"), "PNG")
    for photo in (turned, opaque):
        assert_same(opened(explain(model, [explain_call(photo)])[0]), wanted)
    for image in (chelsea.convert("L"), chelsea.convert("CMYK")):
        data = encoded(image, "JPEG" if image.mode == "CMYK" else "PNG")
        twin = encoded(image.convert("RGB"), "PNG")
        found, other = (opened(explain(model, [explain_call(each)])[0]) for each in (data, twin))
        assert found.frame == other.frame
        assert found.predictions[0].label == other.predictions[0].label


def test_the_sample_cat_is_a_cat(model, photo):
    assert opened(explain(model, [predict_call(photo)])[0]).predictions[0].label == "cat"


def test_what_is_late_after_decoding_is_not_computed(model, photo, monkeypatch):
    """The deadline passes between decoding and the forward pass."""
    from showcause import worker

    request = explain_request(photo).SerializeToString()
    calls = [Call("explain", request, deadline=time.time() + 1000), Call("explain", request)]
    decode = worker.decode_enough
    monkeypatch.setattr(worker, "decode_enough", lambda *arguments: (clock.append(2000), decode(*arguments))[1])
    clock: list[float] = []
    now = time.time()
    monkeypatch.setattr(worker.time, "time", lambda: now + sum(clock))
    late, good = explain(model, calls)
    with pytest.raises(DeadlineExceeded, match="before the worker could answer"):
        opened(late)
    assert opened(good).explanations
