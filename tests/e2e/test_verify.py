"""``showcause verify`` over what the running service answered, as its users get it: by the command line, by curl."""

import json

import httpx
import pytest

from showcause import cli
from tests.reply_files import differing, edited, unchecked, verified

FLAGS = ["--target", "cat", "--target", "dog", "--method", "linear_map", "--method", "grad_cam", "--box", "--map"]
QUERY = "target=cat&picture=overlay&picture=color&output.map=true&linear_map.include_weights=true"


@pytest.fixture
def cat(tmp_path, photo):
    path = tmp_path / "cat.jpg"
    path.write_bytes(photo)
    return path


def test_what_the_command_line_saved(service, shipped, cat, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["explain", str(cat), "--address", service.grpc, "--out", str(out), *FLAGS]) == 0
    capsys.readouterr()
    code, said = verified(capsys, out / "cat.json", cat, shipped.parent)
    assert (code, differing(said), unchecked(said), said["notes"]) == (0, {}, {}, [])
    edited(
        out / "cat.json", lambda table: table["receipt"]["methods"][1]["method"]["grad_cam"].update(keep_negative=True)
    )
    code, said = verified(capsys, out / "cat.json", cat, shipped.parent)
    assert code == 1
    assert "map of cat by grad_cam" in differing(said)
    assert "map of cat by linear_map" not in differing(said)


def test_what_curl_got_over_rest(service, shipped, cat, tmp_path, capsys):
    raw = {"content-type": "image/jpeg"}
    answer = httpx.post(
        f"{service.rest}/v1/models/animals-bcos:explain?{QUERY}", content=cat.read_bytes(), headers=raw, timeout=60
    )
    assert answer.status_code == 200, answer.text
    reply = tmp_path / "reply.json"
    reply.write_bytes(answer.content)
    code, said = verified(capsys, reply, cat, shipped.parent)
    assert (code, differing(said), unchecked(said), said["notes"]) == (0, {}, {}, [])
    assert {"weights of cat by linear_map", "color of cat by linear_map"} < {check["what"] for check in said["checks"]}
    cat.write_bytes(cat.read_bytes()[:-2] + b"\0\xff\xd9")
    assert "photo" in differing(verified(capsys, reply, cat, shipped.parent)[1])

    predicted = httpx.post(
        f"{service.rest}/v1/models/animals-bcos:predict", content=cat.read_bytes(), headers=raw, timeout=60
    )
    reply.write_text(json.dumps(predicted.json(), indent=1))
    assert verified(capsys, reply, cat, shipped.parent)[0] == 0
