"""``showcause verify`` over the files that users have: true replies are accepted, and every change is named."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from showcause.client.calls import predict_request
from showcause.image import decode, frame_of, to_input
from showcause.manifest import sha256_of
from showcause.model import load
from showcause.reply import Difference, Neuron
from showcause.v1 import method_pb2, service_pb2
from showcause.wire import unseal
from showcause.worker import Call, explain
from tests.reply_files import FORMS, answered, differing, edited, saved, sent, unchecked, verified
from tests.small_models import write_parts_model

MODELS = ("animals-bcos", "animals-cnn", "animals-parts")
WISHES = [
    ("animals-bcos", {"target": ["cat", Difference(), Neuron("features.11")], "pictures": ["overlay", "color"]}),
    ("animals-bcos", {"methods": ["linear_map", "grad_cam"], "weights": True, "box": True, "region": (9, 9, 400, 280)}),
    ("animals-bcos", {"map_size": (40, 30), "map_dtype": "uint8", "prediction_count": 30}),
    ("animals-parts", {"methods": ["filter_parts", "gradient"], "top_k": 2, "pictures": ["overlay"], "box": True}),
    ("animals-parts", {"map_size": (13, 13), "pictures": ["tiles"], "map_dtype": "float16"}),
    ("animals-cnn", {"methods": ["cam", "chip", "refined_chip", "guided_chip", "grad_cam", "guided_backprop",
                                 "input_x_gradient", "guided_grad_cam"], "pictures": ["heat_map"], "box": 0.3}),
]  # fmt: skip


@pytest.fixture(scope="module")
def store(shipped):
    return shipped.parent


@pytest.fixture(scope="module")
def models(store):
    return {name: load(store / name) for name in MODELS}


@pytest.fixture
def cat(tmp_path, photo):
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo)
    return path


@pytest.fixture
def copied(tmp_path, store):
    """A store with a copy of one model, to be changed."""

    def copy(name: str):
        shutil.copytree(store / name, tmp_path / "store" / name)
        return tmp_path / "store"

    return copy


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "wishes"), WISHES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(WISHES)])
def test_a_true_reply_is_accepted(models, store, cat, photo, tmp_path, capsys, form, name, wishes):
    message = answered(models[name], photo, **wishes)
    path = FORMS[form](message, tmp_path)
    code, said = verified(capsys, path, cat, store)
    assert (code, differing(said), unchecked(said), said["notes"]) == (0, {}, {}, [])
    compared = {check["what"] for check in said["checks"]}
    for one in message.explanations:
        assert any(what.startswith("map of") and what.endswith(f" by {one.method}") for what in compared)
        for picture in wishes.get("pictures", ()):
            assert any(what.startswith(f"{picture} of") and what.endswith(f" by {one.method}") for what in compared)
    assert {"weights.safetensors", "model.toml", "labels.txt", "photo", "classes", "logits", "input frame"} < compared


@pytest.mark.parametrize("form", FORMS)
def test_predictions_alone_and_tensors(models, store, cat, photo, tmp_path, capsys, form):
    model = models["animals-bcos"]
    (envelope,) = explain(model, [Call("predict", predict_request(photo).SerializeToString())])
    path = FORMS[form](service_pb2.ExplainResponse.FromString(unseal(envelope)), tmp_path)
    assert verified(capsys, path, cat, store)[0] == 0
    changed = edited(path, lambda table: table["predictions"][0].update(logit=1.0))
    assert list(differing(verified(capsys, changed, cat, store)[1])) == ["logits"]

    picture = decode(photo)
    tensor = to_input(picture, frame_of(picture.size, None, model.manifest.input))
    np.save(tmp_path / "cat.npy", tensor)
    path = FORMS[form](answered(model, tensor, pictures=["color"]), tmp_path)
    assert verified(capsys, path, tmp_path / "cat.npy", store)[0] == 0
    tensor[0, 60:70, 60:70] = 1 - tensor[0, 60:70, 60:70]
    np.save(tmp_path / "other.npy", tensor)
    found = differing(verified(capsys, path, tmp_path / "other.npy", store)[1])
    assert {"photo", "logits", "map of cat by linear_map"} <= set(found)


def flip(folder, pin=False):
    """Changes one weight of a model folder; pin: and its digest in model.toml."""
    path = folder / "weights.safetensors"
    before, weights = sha256_of(path), load_file(path)
    name = next(name for name, value in weights.items() if value.ndim == 4 and name.startswith("features"))
    weights[name].view(-1)[0] += 0.5
    save_file(weights, path)
    if pin:
        toml = folder / "model.toml"
        toml.write_text(toml.read_text().replace(before, sha256_of(path)))
    return before, sha256_of(path)


@pytest.mark.parametrize("name", MODELS)
def test_a_changed_weight_is_found(models, copied, cat, photo, tmp_path, capsys, name):
    path, other = saved(answered(models[name], photo), tmp_path), copied(name)
    before, after = flip(other / name)
    code, said = verified(capsys, path, cat, other)
    assert code == 1
    text = f"another file, of SHA-256 {after} instead of {before}"
    assert differing(said) == {"weights.safetensors": text}
    assert f"has SHA-256 {after}, and model.toml wants {before}" in said["obstacle"], "no service would load it either"


def test_what_a_changed_weight_does_is_shown(models, copied, cat, photo, tmp_path, capsys):
    path, other = saved(answered(models["animals-bcos"], photo), tmp_path), copied("animals-bcos")
    flip(other / "animals-bcos", pin=True)
    code, said = verified(capsys, path, cat, other)
    assert code == 1
    assert said["obstacle"] == ""
    found = differing(said)
    assert {"weights.safetensors", "model.toml", "logits", "map of cat by linear_map"} <= set(found)
    assert "of the maximum" in found["map of cat by linear_map"]


def test_a_changed_file_of_the_model_is_found_with_what_it_does(models, copied, cat, photo, tmp_path, capsys):
    wishes = {"box": True, "methods": ["linear_map", "grad_cam"], "target": "cat"}
    path, other = saved(answered(models["animals-bcos"], photo, **wishes), tmp_path), copied("animals-bcos")
    labels, maps = other / "animals-bcos" / "labels.txt", other / "animals-bcos" / "maps.json"
    labels.write_text(labels.read_text().replace("cat\n", "kitten\n", 1))
    found = differing(verified(capsys, path, cat, other)[1])
    assert "cat (" in found["classes"]
    assert "target is cat instead of kitten" in found["kind and test scores of kitten by grad_cam"]
    assert "labels.txt" in found

    shutil.rmtree(other)
    copied("animals-bcos")
    table = json.loads(maps.read_text())
    table["methods"]["grad_cam"]["threshold"] = 0.9
    table["methods"]["linear_map"]["scores"][0]["value"] = 0.99
    maps.write_text(json.dumps(table))
    assert set(differing(verified(capsys, path, cat, other)[1])) >= {
        "maps.json",
        "kind and test scores of cat by linear_map",
    }


def parameters(table: dict, method: str) -> dict:
    return next(row["method"][method] for row in table["receipt"]["methods"] if method in row["method"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "method", "changes", "what"),
    [
        ("animals-bcos", "linear_map", {"smoothing_px": 31}, "color of cat by linear_map"),
        ("animals-bcos", "linear_map", {"opacity_percentile": 60.0}, "color of cat by linear_map"),
        ("animals-bcos", "linear_map", {"smoothing_px": 0}, "parameters of linear_map"),
        ("animals-parts", "filter_parts", {"part_count": 4}, "parts of cat by filter_parts"),
        ("animals-parts", "filter_parts", {"include_negative": True, "part_count": 40}, "parts of cat by filter_parts"),
        ("animals-cnn", "grad_cam", {"keep_negative": True}, "map of cat by grad_cam"),
        ("animals-cnn", "grad_cam", {"layer": "features.6"}, "map of cat by grad_cam"),
        ("animals-cnn", "grad_cam", {"layer": ""}, "parameters of grad_cam"),
    ],
)
def test_a_changed_parameter_is_found(models, store, cat, photo, tmp_path, capsys, form, name, method, changes, what):
    wishes = {"methods": [method], "target": "cat", "pictures": ["color"] if method == "linear_map" else []}
    path = FORMS[form](answered(models[name], photo, **wishes), tmp_path)
    edited(path, lambda table: parameters(table, method).update(changes))
    code, said = verified(capsys, path, cat, store)
    assert code == 1
    assert what in differing(said)


def test_parameters_that_no_model_takes(models, store, cat, photo, tmp_path, capsys):
    path = saved(answered(models["animals-bcos"], photo), tmp_path)
    edited(path, lambda table: parameters(table, "linear_map").update(smoothing_px=4))
    code, said = verified(capsys, path, cat, store)
    assert code == 2
    assert "methods[0].linear_map.smoothing_px: not allowed; got '4'; allowed: odd, 1 to 63" in said["obstacle"]


def test_a_changed_pixel_of_the_photo_is_found(models, store, chelsea, tmp_path, capsys):
    path, changed = tmp_path / "cat.png", tmp_path / "other.png"
    chelsea.save(path)
    pixels = np.asarray(chelsea).copy()
    pixels[150, 225] = 255 - pixels[150, 225]
    Image.fromarray(pixels).save(changed)
    reply = saved(answered(models["animals-bcos"], path.read_bytes()), tmp_path)
    assert verified(capsys, reply, path, store)[0] == 0
    code, said = verified(capsys, reply, changed, store)
    assert code == 1
    found = differing(said)
    assert found["photo"] == f"another file, of SHA-256 {sha256_of(changed)} instead of {sha256_of(path)}"
    assert "map of cat by linear_map" in found, "and what it did is shown"


def test_a_changed_value_of_a_saved_map_or_picture_is_found(models, store, cat, photo, tmp_path, capsys):
    wishes = {"target": "cat", "weights": True, "pictures": ["overlay"]}
    path = saved(answered(models["animals-bcos"], photo, **wishes), tmp_path)
    for kind in ("map", "weights"):
        file = tmp_path / f"cat.cat-linear_map.{kind}.npy"
        values = np.load(file)
        changed = values.copy()
        changed.flat[7] += 0.01 * np.abs(values).max()
        np.save(file, changed)
        found = differing(verified(capsys, path, cat, store)[1])
        assert found == {f"{kind} of cat by linear_map": "differs by 0.01 of the maximum; allowed: 0.0001"}
        np.save(file, values)
    file = tmp_path / "cat.cat-linear_map.overlay.png"
    with Image.open(file) as image:
        pixels = np.asarray(image).copy()
    pixels[:20, :20] = 0
    Image.fromarray(pixels).save(file)
    found = differing(verified(capsys, path, cat, store)[1])
    assert list(found) == ["overlay of cat by linear_map"]
    file.write_bytes(b"no picture")
    found = differing(verified(capsys, path, cat, store)[1])
    assert list(found) == ["overlay of cat by linear_map"]


def test_a_changed_value_of_an_answered_map_or_picture_is_found(models, store, cat, photo, tmp_path, capsys):
    message = answered(models["animals-bcos"], photo, target="cat", weights=True, pictures=["overlay"])

    def changed(change) -> dict[str, str]:
        twin = service_pb2.ExplainResponse.FromString(message.SerializeToString())
        change(twin.explanations[0])
        return differing(verified(capsys, sent(twin, tmp_path), cat, store)[1])

    def of_map(one) -> None:
        values = np.frombuffer(one.map.data, "<f4").copy()
        values[7] += 0.01 * np.abs(values).max()
        one.map.data = values.tobytes()

    def of_picture(one) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(one.pictures[0].png))).copy()
        pixels[:20, :20] = 0
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        one.pictures[0].png = buffer.getvalue()

    assert changed(lambda one: None) == {}
    assert list(changed(of_map)) == ["map of cat by linear_map"]
    assert list(changed(of_picture)) == ["overlay of cat by linear_map"]
    assert list(changed(lambda one: setattr(one.pictures[0], "width", 9))) == ["overlay of cat by linear_map"]
    shown = "relative residual of cat by linear_map"
    assert list(changed(lambda one: setattr(one.evidence[0].residual, "relative_residual", 1e-12))) == [shown]


def test_the_relative_residual_of_a_saved_reply_is_that_of_its_numbers(models, store, cat, photo, tmp_path, capsys):
    path = saved(answered(models["animals-bcos"], photo, target="cat"), tmp_path)
    edited(path, lambda table: table["explanations"][0]["residual"].update(relative_residual=0.0))
    assert list(differing(verified(capsys, path, cat, store)[1])) == ["relative residual of cat by linear_map"]


def test_classes_that_can_only_be_explained_among_the_strongest(photo, cat, tmp_path, capsys):
    """No filter has learned "west": it cannot be asked for by name."""
    model = load(write_parts_model(tmp_path / "store" / "small"))
    path = saved(answered(model, photo, top_k=4), tmp_path)
    assert '"west"' in path.read_text()
    assert verified(capsys, path, cat, tmp_path / "store")[0] == 0


def test_maps_whose_asked_size_is_that_of_their_own_grid(photo, cat, tmp_path, capsys):
    """The reply does not say that a size was asked for, and of filter_parts that moves the values."""
    model = load(write_parts_model(tmp_path / "store" / "small"))
    own = answered(model, photo, target="east")
    side = own.explanations[0].map.width
    moved = answered(model, photo, target="east", map_size=(side, side))
    assert own.explanations[0].map.data != moved.explanations[0].map.data
    for message in (own, moved):
        assert verified(capsys, saved(message, tmp_path), cat, tmp_path / "store")[0] == 0


def test_the_request_may_have_been_a_message(models, store, cat, photo, tmp_path, capsys):
    method = method_pb2.Method(filter_parts=method_pb2.FilterParts(part_count=9, include_negative=True))
    path = saved(answered(models["animals-parts"], photo, methods=method, target="cat"), tmp_path)
    assert verified(capsys, path, cat, store)[0] == 0
