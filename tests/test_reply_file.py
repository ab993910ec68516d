"""Files that claim to be replies: read back whole where they are, and a clear error where they are not."""

import json

import numpy as np
import pytest

from showcause import cli
from showcause.commands import reply_file
from showcause.commands.reply_file import Unreadable, open_reply
from showcause.reply import Difference, Neuron
from showcause.wire import read_reply
from tests.reply_files import FORMS, answered, edited, saved, sent


@pytest.fixture(scope="module")
def message(model, photo):
    wishes = {"target": ["cat", Difference("cat", "dog"), Neuron("features.11")], "pictures": ["overlay", "color"]}
    return answered(model, photo, weights=True, box=True, map_dtype="float16", region=(5, 5, 300, 200), **wishes)


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_is_read_back_as_it_was(message, tmp_path, form):
    opened = open_reply(FORMS[form](message, tmp_path))
    wanted = read_reply(message)
    assert opened.noticed == ()
    assert opened.reply.as_dict() == wanted.as_dict()
    for one, other in zip(opened.reply.explanations, wanted.explanations, strict=True):
        np.testing.assert_array_equal(one.map, other.map)
        np.testing.assert_array_equal(one.weights, other.weights)
        assert (one.pictures, one.evidence, one.map_dtype) == (other.pictures, other.evidence, "float16")


NOT_JSON = {
    "empty": (b"", "not JSON"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not JSON"),
    "cut off": (b'{"predictions": [', "not JSON"),
    "deep": (b"[" * 200_000, "not JSON"),
    "deep object": (b'{"receipt":' * 100_000, "not JSON"),
    "huge number": (b'{"predictions": ' + b"9" * 10_000 + b"}", "not JSON"),
    "list": (b"[]", "not an object"),
    "null": (b"null", "not an object"),
    "problem details": (b'{"title": "Not Found", "status": 404}', "no such field"),
    "both forms": (b'{"probability_kind": "softmax"}', "an object with the keys agreements, explanations"),
    "deep enough": (b'{"probability_kind": "softmax", "receipt": ' + b"[" * 900 + b"]" * 900 + b"}", "keys"),
    "NaN": (b'{"predictions": [{"logit": NaN}]}', "NaN is no JSON"),
}


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_no_reply_is_said(tmp_path, capsys, kind):
    data, text = NOT_JSON[kind]
    path = tmp_path / "reply.json"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=text):
        open_reply(path)
    assert cli.main(["verify", str(path), "--photo", str(path)]) == 2
    assert f"showcause verify: {path}" in capsys.readouterr().err


def put(*keys: object, value: object):
    """Changes one value of a reply's JSON."""

    def edit(table: dict) -> None:
        *parents, last = keys
        for key in parents:
            table = table[key]
        table[last] = value

    return edit


def deep(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


SAVED = {
    "predictions is 5; allowed: a list": put("predictions", value=5),
    "predictions[0] is [1]; allowed: an object": put("predictions", 0, value=[1]),
    "predictions[0].logit is nan; allowed: a finite number": put("predictions", 0, "logit", value=float("nan")),
    "predictions[0].logit is inf; allowed: a finite number": put("predictions", 0, "logit", value=float("inf")),
    "predictions[0].logit is True; allowed: a finite number": put("predictions", 0, "logit", value=True),
    "predictions[0].probability is '0.5'; allowed: a finite": put("predictions", 0, "probability", value="0.5"),
    "predictions[0].index is 1.5; allowed: a whole number": put("predictions", 0, "index", value=1.5),
    "predictions[0] is ['extra', 'index', 'label': allowed: an object": put("predictions", 0, "extra", value=1),
    "frame.seen is None; allowed: an object": put("frame", "seen", value=None),
    "explanations is {}; allowed: a list": put("explanations", value={}),
    "explanations[0] is None; allowed: an object": put("explanations", 0, value=None),
    "explanations[0].target is {}; allowed: ClassTarget or": put("explanations", 0, "target", value={}),
    "explanations[0].residual is []; allowed:": put("explanations", 0, "residual", value={}),
    "explanations[0].residual.bias is 'x'": put("explanations", 0, "residual", "bias", value="x"),
    "explanations[0].residual.relative_residual is": put("explanations", 0, "residual", "relative_residual", value={}),
    "explanations[0].box is [1, 2]; allowed: an object": put("explanations", 0, "box", value=[1, 2]),
    "explanations[0].box.threshold is None": put("explanations", 0, "box", "threshold", value=None),
    "explanations[0].map_dtype is 'object'; allowed: float32": put("explanations", 0, "map_dtype", value="object"),
    "map_shape of": put("explanations", 0, "map_shape", value=[10**9, 10**9]),
    "weights_shape of": put("explanations", 0, "weights_shape", value="6"),
    "pictures is '../../x'; allowed: heat_map": put("explanations", 0, "pictures", value=["../../x"]),
    "pictures is 7; allowed: a list": put("explanations", 0, "pictures", value=7),
    "explanations[0].parts[0] is 0": put("explanations", 0, "parts", value=[0]),
    "agreements[0] is": put("agreements", value=[[]]),
    "receipt is []; allowed: an object": put("receipt", value=[]),
    "receipt: methods[0].method.linear_map.smoothing_px": put(
        "receipt", "methods", 0, "method", "linear_map", "smoothing_px", value="many"
    ),
    "receipt: colour: no such field": put("receipt", "colour", value="red"),
    "receipt: body: not JSON that can be read: NaN": put("receipt", "region", "x_min", value=float("nan")),
    "timings is": put("timings", value=deep(600)),
    "request_id is": put("request_id", value=deep(600)),
}
SENT = {
    "predictions[0].logit: not allowed; got 'NaN'": put("predictions", 0, "logit", value="NaN"),
    "predictions[0].index: not allowed": put("predictions", 0, "index", value=2**40),
    "predictions: not a list": put("predictions", value={}),
    "explanations[0].map.data: not allowed": put("explanations", 0, "map", "data", value="$$$"),
    "cannot reshape array": put("explanations", 0, "map", "width", value=2**31 - 1),
    "buffer size must be a multiple": put("explanations", 0, "map", "data", value="AAAA"),
    "cannot be read: KeyError: 9": put("explanations", 0, "map", "dtype", value=9),
    "reshape": put("explanations", 0, "weights", "shape", value=[2**31 - 1, 2**31 - 1, 2**31 - 1]),
    "explanations[0].kind: not allowed": put("explanations", 0, "kind", value="sure"),
    "receipt.methods[0].method.deep: no such field": put("receipt", "methods", 0, "method", "deep", value={}),
    "receipt.region.x_min: not allowed": put("receipt", "region", "x_min", value="Infinity"),
}


@pytest.mark.parametrize("text", SAVED)
def test_saved_replies_with_wrong_values_name_them(message, tmp_path, text):
    path = edited(saved(message, tmp_path), SAVED[text])
    with pytest.raises(Unreadable) as caught:
        open_reply(path)
    assert all(part in str(caught.value) for part in text.split(": ")[:2])


@pytest.mark.parametrize("text", SENT)
def test_answered_replies_with_wrong_values_name_them(message, tmp_path, text):
    path = edited(sent(message, tmp_path), SENT[text])
    with pytest.raises(Unreadable) as caught:
        open_reply(path)
    assert text in str(caught.value)


def test_scales_and_numbers_of_any_size_are_read(message, tmp_path):
    """They are compared, and differ; nothing warns."""
    twin = type(message).FromString(message.SerializeToString())
    twin.explanations[0].map.dtype, twin.explanations[0].map.data = 3, bytes(len(twin.explanations[0].map.data) // 2)
    twin.explanations[0].map.scale = 1e308
    twin.explanations[0].map.offset = 1e308
    twin.explanations[0].evidence[0].residual.bias = 1e308
    opened = open_reply(sent(twin, tmp_path))
    assert not np.isfinite(opened.reply.explanation.map).any()
    assert [check.what for check in opened.noticed] == ["relative residual of cat by linear_map"]


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is no .npy file"),
        (b"PK\x03\x04" + bytes(50), "is no .npy file"),
        (b"\x80\x04]", "is no .npy file"),
        (b"\x93NUMPY", "is no whole .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "is no whole .npy file"),
        (npy("|O", "1", b"cos\nsystem\n"), "is no whole .npy file"),
        (npy("<f4", "99999999999, 9"), "is no whole .npy file"),
        (npy("<f4", "9" * 40), "is no whole .npy file"),
        (npy("<f4", "-1", bytes(8)), "no whole .npy file|map_shape"),
        (npy("<f8", "2", bytes(16)), "holds 16 bytes of float64; allowed: "),
        (npy("<f4", "2", bytes(8)), "map_shape of cat.cat-linear_map.map.npy is|allowed"),
    ],
)
def test_arrays_that_are_none(message, tmp_path, data, text):
    path = saved(message, tmp_path)
    file = tmp_path / "cat.cat-linear_map.map.npy"
    file.write_bytes(data)
    with pytest.raises(Unreadable, match=text):
        open_reply(path)


def test_a_file_is_not_read_beyond_what_a_reply_can_have(message, tmp_path, monkeypatch):
    path = sent(message, tmp_path)
    monkeypatch.setattr(reply_file, "MOST_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(Unreadable, match="is too large; allowed: "):
        open_reply(path)
    with pytest.raises(Unreadable, match="is too large"):
        reply_file.read_bytes("/dev/zero")


def test_what_stands_in_the_line_of_a_batch_is_told_from_a_saved_reply(message, tmp_path):
    path = saved(message, tmp_path)
    edited(path, lambda table: table.update(name="cat", files=[]))
    with pytest.raises(Unreadable, match=r"it is .*; allowed: an object with the keys agreements"):
        open_reply(path)
    assert json.loads(path.read_text())["name"] == "cat"
