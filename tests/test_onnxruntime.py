"""ONNX Runtime as a second runtime: the same answers, one pass for what needs no gradient, torch for the rest."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from showcause.client.calls import explain_request, predict_request
from showcause.engine.exported import exported
from showcause.manifest import ManifestError, read_manifest, sha256_of
from showcause.methods import Ask, linear_map
from showcause.methods.linear_map import settle
from showcause.model import load
from showcause.nets.base import Tape
from showcause.reply import ClassTarget, Difference, Neuron
from showcause.v1 import method_pb2
from showcause.worker import Call, explain
from tests.sameness import assert_same, opened
from tests.small_models import write_model, write_parts_model, write_plain_model
from tests.test_linear_map import relative

WITH_WEIGHTS = settle(method_pb2.Method(linear_map=method_pb2.LinearMap(include_weights=True)), "")
BCOS = {  # what each has that the others have not: ReLU; pooling and branches; concatenation; MaxOut and gains
    "bcos_vgg": {"stages": [[8, 8], [16]]},
    "bcos_resnet18": {"width": 8},
    "bcos_densenet121": {"growth": 8, "width": 16, "blocks": [2, 2]},
    "bcos_v1_vgg11": {"stages": [[8], [16]], "hidden": [12, 12], "bias": 0.5},
}


def packed(folder):
    """The folder as an archive holds it that was packed for ONNX Runtime; as torch runs it, and as this does."""
    torch_runs = load(folder)
    exported(torch_runs.manifest, folder, print)
    return load(folder), load(folder, packed=True)


@pytest.fixture(scope="module", params=sorted(BCOS))
def bcos(request, tmp_path_factory):
    return packed(write_model(tmp_path_factory.mktemp("onnx") / "small", request.param, 32, **BCOS[request.param]))


@pytest.fixture(scope="module")
def cnn(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "animals-cnn"
    shutil.copytree(shipped.parent / "animals-cnn", folder)
    return packed(folder)


def test_linear_maps_are_those_of_torch(bcos):
    """Of several targets a photo, of some photos of a batch, of differences; batches of any size."""
    by_torch, by_onnx = bcos
    targets = [ClassTarget(1, ""), Difference(ClassTarget(3, ""), ClassTarget(0, ""))]
    for size, rows in ((3, (2, 0)), (1, (0,)), (5, (0, 1, 2, 3, 4))):
        rgb = interpolate(torch.rand(size, 3, 6, 6), (32, 32), mode="bilinear")
        rgb = rgb.contiguous(memory_format=torch.channels_last)  # which has to be laid out anew
        tape = Tape(start="input", hold=True)
        wanted, found = by_torch.net.run(rgb, tape), by_onnx.passes.run(rgb, tape)
        assert found.runtime[0] == "onnxruntime"
        asks = [Ask(row, target, WITH_WEIGHTS) for row in rows for target in targets]
        for one, other in zip(linear_map.explain(found, asks), linear_map.explain(wanted, asks), strict=True):
            # Random filters nearly cancel in a unit here and there, whose factor float32 then knows to 4 digits.
            assert relative(one.weights, other.weights) < 1e-3
            assert one.evidence[0].relative < 1e-3
        assert relative(found.logits.numpy(), wanted.logits.numpy()) < 1e-4


def test_what_a_graph_does_not_hold_is_asked_of_torch(bcos, cnn):
    rgb = torch.rand(2, 3, 32, 32)
    layer = next(iter(bcos[1].layers))
    assert bcos[1].passes.run(rgb, Tape(frozenset([layer]), "input", hold=True)).runtime[0] == "torch"
    assert bcos[1].passes.run(rgb).runtime[0] == "onnxruntime"
    large = torch.rand(2, 3, 224, 224)
    layers = {"features.1", "features.11", "features.13"}  # that CHIP was distilled for, the last grid among them
    for tape, runtime in (
        (Tape(frozenset(layers)), "onnxruntime"),
        (Tape(frozenset(["features.4"])), "torch"),
        (Tape(frozenset(["features.13"]), "layers"), "torch"),
        (Tape(edits={"features.13": lambda out: out * 0}), "torch"),
    ):
        forward = cnn[1].passes.run(large, tape)
        assert forward.runtime[0] == runtime, tape
        assert set(forward.activations) == tape.layers


def test_a_mixed_batch_has_the_answers_and_receipts(cnn, photos):
    wishes = [
        ({"methods": ["cam", "chip", "refined_chip"], "top_k": 2, "box": True}, "onnxruntime"),
        ({"methods": ["grad_cam"], "pictures": ["overlay"], "target": Difference("cat", "dog")}, "onnxruntime"),
        ({"methods": ["gradient", "cam"], "map_dtype": "float16"}, "torch"),
    ]
    calls = [
        (Call("explain", explain_request(photo, **wish).SerializeToString()), runtime)
        for photo in photos[:2]
        for wish, runtime in wishes
    ]
    calls.append((Call("predict", predict_request(photos[0]).SerializeToString()), "onnxruntime"))
    envelopes = [explain(model, [call for call, _ in calls]) for model in cnn]
    for one, other, (_, runtime) in zip(*envelopes, calls, strict=True):
        wanted, found = opened(one), opened(other)
        assert found.receipt["runtime"] == runtime
        assert found.receipt["runtime_version"]
        assert wanted.receipt["runtime"] == "torch"
        found.receipt.update({key: wanted.receipt[key] for key in ("runtime", "runtime_version")})
        assert_same(found, wanted)


def test_a_request_for_both_says_so(bcos, photo):
    """A class's map comes from the graphs; a unit inside needs layers, and so all of the pass is torch's."""
    (sealed,) = explain(bcos[1], [Call("explain", explain_request(photo).SerializeToString())])
    assert opened(sealed).receipt["runtime"] == "onnxruntime"
    unit = Neuron(next(iter(bcos[1].layers)))
    (sealed,) = explain(bcos[1], [Call("explain", explain_request(photo, target=unit).SerializeToString())])
    assert opened(sealed).receipt["runtime"] == "torch"


def test_filter_parts_too_and_graphs_of_other_weights_are_refused(tmp_path, photo):
    folder = write_parts_model(tmp_path / "small")
    by_torch, by_onnx = packed(folder)
    call = Call("explain", explain_request(photo).SerializeToString())
    wanted, found = (opened(explain(model, [call])[0]) for model in (by_torch, by_onnx))
    assert found.receipt["runtime"] == "onnxruntime"
    found.receipt.update({key: wanted.receipt[key] for key in ("runtime", "runtime_version")})
    assert_same(found, wanted)
    assert found.explanations[0].parts

    weights, old = folder / "weights.safetensors", by_torch.manifest.weights_sha256
    state = load_file(weights)
    state["head.last.bias"] += 1
    save_file(state, weights)
    settings = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(settings.replace(old, sha256_of(weights)))
    with pytest.raises(ManifestError, match=rf"network.onnx was made of {old}; allowed: {sha256_of(weights)}"):
        load(folder, packed=True)
    assert load(folder).passes is not None, "as a model folder its graphs are not looked at"


def test_a_network_that_cannot_be_exported_says_why(tmp_path, monkeypatch):
    """An operator's may do anything."""
    (tmp_path / "odd.py").write_text(
        "import torch\n"
        "class Odd(torch.nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, classes, 3)\n"
        "    def forward(self, x):\n"
        "        out = self.conv(x).mean((2, 3))\n"
        "        return out if float(out[0, 0]) > 0 else out * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder = write_plain_model(tmp_path / "small", "python:odd:Odd")
    with pytest.raises(ManifestError, match="the network cannot be exported: ") as error:
        exported(read_manifest(folder), tmp_path / "out", print)
    assert "Traceback" not in str(error.value)
