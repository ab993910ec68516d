"""chip.safetensors: written, read, refused; and what it says of classes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from showcause.channels import (
    LayerWeights,
    channel_importance,
    check_layers,
    important,
    overlap,
    read_distilled,
    write_distilled,
)
from showcause.errors import FailedPrecondition, InvalidArgument, NotFound
from showcause.manifest import ManifestError, read_manifest, sha256_of
from showcause.v1 import method_pb2, service_pb2
from tests.small_models import write_model

FIRST = LayerWeights("conv1", (0, 1, 3), np.array([[0.5, 0, -1, 2], [1, 1, 0, 0], [0, 0, 0, -1]], np.float32), {"n": 3})
LAST = LayerWeights("layer4.1.conv2", (2, 0), np.array([[0.25, 3], [0, 1e-9]], np.float32))


@pytest.fixture
def manifest(tmp_path):
    return read_manifest(write_model(tmp_path / "small"))


@pytest.fixture
def distilled(manifest):
    write_distilled(manifest, [FIRST, LAST])
    return read_distilled(manifest)


def test_what_is_written_is_read(manifest, distilled):
    assert list(distilled) == ["conv1", "layer4.1.conv2"], "in their order"
    for one in (FIRST, LAST):
        found = distilled[one.layer]
        assert (found.classes, found.about) == (one.classes, one.about)
        np.testing.assert_array_equal(found.weights, one.weights)
    np.testing.assert_array_equal(distilled["conv1"].of(3), [0, 0, 0, -1])
    assert read_manifest(manifest.folder).chip_sha256 == sha256_of(manifest.chip_path)
    assert [path.name for path in manifest.folder.iterdir() if path.suffix == ".new"] == []


def test_a_folder_without_it_has_nothing_distilled(manifest):
    assert read_distilled(manifest) == {}
    assert manifest.chip_sha256 == ""


def metadata(manifest, **changes):
    rows = [{"layer": "conv1", "classes": ["north", "east"], "about": {}} | changes.pop("row", {})]
    return {"chip": json.dumps({"weights_sha256": manifest.weights_sha256, "layers": rows} | changes)}


@pytest.mark.parametrize(
    ("change", "tensors", "said"),
    [
        ({"row": {"classes": ["north", "East"]}}, {}, "class 'East' is none of the model's; allowed: north, east"),
        ({"row": {"classes": ["north", "north"]}}, {}, "a class stands there twice"),
        ({"row": {"classes": ["north"]}}, {}, r"conv1 is float32 \(2, 4\); allowed: floats \(1, channels\)"),
        ({"row": {"layer": "conv2"}}, {}, "KeyError: 'conv2'"),
        ({"weights_sha256": "0"}, {}, r"distilled from weights 0.* showcause train chip --model small --layers LAYER"),
        ({"layers": 7}, {}, "TypeError"),
        ({}, {"extra": np.ones((2, 4), np.float32)}, "does not say what tensor 'extra' is"),
        ({}, {"conv1": np.ones((2, 4), np.int32)}, "conv1 is int32"),
        ({}, {"conv1": np.ones(4, np.float32)}, r"conv1 is float32 \(4,\)"),
        ({}, {"conv1": np.array([[1, np.nan], [0, 0]], np.float32)}, "not finite"),
        ({}, {"conv1": np.array([[1, 0], [-3e38, 0]], np.float32)}, r"not finite, or above 1e\+06 in size"),
    ],
)
def test_a_file_that_is_wrong_is_refused_saying_what(manifest, change, tensors, said):
    made = metadata(manifest, **change)
    save_file({"conv1": np.ones((2, 4), np.float32)} | tensors, manifest.chip_path, made)
    with pytest.raises(ManifestError, match=said) as caught:
        read_distilled(manifest)
    assert str(manifest.chip_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a tensor in it", b"\xff" * 100])
def test_what_is_no_safetensors_file_is_refused(manifest, content):
    manifest.chip_path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"chip\.safetensors"):
        read_distilled(manifest)


def test_a_folder_of_that_name_is_refused(manifest):
    manifest.chip_path.mkdir()
    for read in (lambda: read_distilled(manifest), lambda: read_manifest(manifest.folder)):
        with pytest.raises(ManifestError, match=r"chip\.safetensors"):
            read()


def test_metadata_nested_too_deep_is_refused(manifest):
    save_file({"conv1": np.ones((2, 4), np.float32)}, manifest.chip_path, {"chip": "[" * 100_000 + "]" * 100_000})
    with pytest.raises(ManifestError, match=r"chip\.safetensors: RecursionError"):
        read_distilled(manifest)


def test_weights_that_could_not_be_read_again_are_not_written(manifest, distilled):
    before = manifest.chip_path.read_bytes()
    with pytest.raises(ManifestError, match=r"conv1 has weights that are not finite, or above"):
        write_distilled(manifest, [replace(FIRST, weights=FIRST.weights * 1e7)])
    assert manifest.chip_path.read_bytes() == before


def test_a_file_without_its_metadata_is_refused(manifest):
    save_file({"conv1": np.ones((2, 4), np.float32)}, manifest.chip_path)
    with pytest.raises(ManifestError, match="KeyError: 'chip'"):
        read_distilled(manifest)


def test_layers_that_do_not_fit_the_network_are_refused(manifest, distilled):
    right = {"conv1": (4, 8, 8), "layer4.1.conv2": (2, 1, 1), "other": (9, 1, 1)}
    check_layers(manifest, distilled, right)
    with pytest.raises(ManifestError, match=r"no layer 'layer4\.1\.conv2'"):
        check_layers(manifest, distilled, {"conv1": (4, 8, 8)})
    with pytest.raises(ManifestError, match="conv1 has 4 channels; allowed: 5"):
        check_layers(manifest, distilled, right | {"conv1": (5, 8, 8)})


def test_layers_out_of_running_order_are_refused(manifest):
    """The first and the last of them are refined_chip's, and the last is the default of the others."""
    write_distilled(manifest, [LAST, FIRST])
    said = r"its layers are layer4\.1\.conv2, conv1; allowed: conv1, layer4\.1\.conv2, as they run"
    with pytest.raises(ManifestError, match=said):
        check_layers(manifest, read_distilled(manifest), {"conv1": (4, 8, 8), "layer4.1.conv2": (2, 1, 1)})


def test_important_channels_are_the_largest_positive_ones():
    weights = np.array([0.5, 0, -3, 2, 0.5, 1e-9], np.float32)
    assert important(weights, 3) == [3, 0, 4], "ties by number"
    assert important(weights, 10) == [3, 0, 4, 5]
    assert important(-np.abs(weights), 10) == []


def test_overlap_is_intersection_over_union():
    found = overlap([[1, 2, 3], [3, 2, 9, 10], [], [900]])
    wanted = [[1, 2 / 5, 0, 0], [2 / 5, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(found, wanted)
    assert overlap([[], []]).tolist() == [[0, 0], [0, 0]]


def ask(manifest, distilled, *classes, **others):
    references = [
        method_pb2.ClassReference(**{"label" if isinstance(one, str) else "class_index": one}) for one in classes
    ]
    request = service_pb2.GetChannelImportanceRequest(classes=references, **others)
    return channel_importance(request, manifest, distilled)


def test_the_last_layer_and_all_its_classes_are_the_default(manifest, distilled):
    found = ask(replace(manifest, chip_sha256="abc"), distilled)
    assert (found.layer, list(found.distilled_layers)) == ("layer4.1.conv2", ["conv1", "layer4.1.conv2"])
    assert [(one.class_target.index, one.class_target.label) for one in found.classes] == [(2, "south"), (0, "north")]
    assert [(channel.channel, channel.weight) for channel in found.classes[0].channels] == [(1, 3.0), (0, 0.25)]
    assert [(one.nonzero_count, one.channel_count) for one in found.classes] == [(2, 2), (1, 2)]
    assert list(found.overlap) == [1, 0.5, 0.5, 1]
    assert found.chip_sha256 == "abc"


def test_layer_classes_and_count_as_they_are_asked_for(manifest, distilled):
    found = ask(manifest, distilled, "west", 0, "north", layer="conv1", channel_count=1)
    assert [one.class_target.label for one in found.classes] == ["west", "north"], "in the order asked, each once"
    assert [[channel.channel for channel in one.channels] for one in found.classes] == [[], [3]]
    assert list(found.overlap) == [0, 0, 0, 1], "of the channels that are listed"


@pytest.mark.parametrize(
    ("wish", "kind", "field", "said"),
    [
        (
            {"layer": "conv2"},
            FailedPrecondition,
            "layer",
            "showcause train chip --model small --layers conv2 --data DIR",
        ),
        ({"classes": ["west"]}, FailedPrecondition, "classes[0].label", "south, north; showcause train chip"),
        ({"classes": ["north", 1]}, FailedPrecondition, "classes[1].class_index", "--layers layer4.1.conv2"),
        ({"classes": ["nord"]}, NotFound, "classes[0].label", "north"),
        ({"classes": [4]}, InvalidArgument, "classes[0].class_index", "0 to 3"),
        ({"channel_count": -1}, InvalidArgument, "channel_count", "1 to 4096"),
        ({"channel_count": 4097}, InvalidArgument, "channel_count", "1 to 4096"),
    ],
)
def test_what_cannot_be_answered_names_the_field_and_what_is_allowed(manifest, distilled, wish, kind, field, said):
    with pytest.raises(kind) as caught:
        ask(manifest, distilled, *wish.pop("classes", ()), **wish)
    assert caught.value.field == field
    assert said in caught.value.allowed


def test_an_empty_reference_is_refused(manifest, distilled):
    request = service_pb2.GetChannelImportanceRequest(classes=[method_pb2.ClassReference()])
    with pytest.raises(InvalidArgument, match=r"classes\[0\].*class_index or label"):
        channel_importance(request, manifest, distilled)


def test_a_model_without_the_file_names_the_command(manifest):
    with pytest.raises(FailedPrecondition) as caught:
        ask(manifest, {})
    assert caught.value.allowed == "none yet; showcause train chip --model small --layers LAYER --data DIR distils it"
