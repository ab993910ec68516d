"""Replies as the files that their users have, and ``showcause verify`` over them."""

import io
import json
from collections.abc import Callable
from pathlib import Path

from showcause import cli
from showcause.client.calls import explain_request
from showcause.gateway.rest_output import as_json
from showcause.model import Model
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain


def answered(model: Model, photo: object, **wishes: object) -> service_pb2.ExplainResponse:
    (envelope,) = explain(model, [Call("explain", explain_request(photo, **wishes).SerializeToString())])
    return service_pb2.ExplainResponse.FromString(unseal(envelope))


def saved(message: service_pb2.ExplainResponse, folder: Path) -> Path:
    """As ``Reply.save`` writes it."""
    return read_reply(message).save(folder, "cat")[0]


def sent(message: service_pb2.ExplainResponse, folder: Path) -> Path:
    """As ``curl ... > reply.json`` has it."""
    path = folder / "reply.json"
    path.write_bytes(as_json(message).body)
    return path


FORMS: dict[str, Callable[[service_pb2.ExplainResponse, Path], Path]] = {"saved": saved, "sent": sent}


def edited(path: Path, edit: Callable[[dict], object]) -> Path:
    """The reply's JSON, changed in place."""
    table = json.loads(path.read_text())
    edit(table)
    path.write_text(json.dumps(table))
    return path


def verified(capsys, reply: Path, photo: Path, store: Path) -> tuple[int, dict]:
    """Exit code of ``showcause verify --json`` and what it said."""
    code = cli.main(["verify", str(reply), "--photo", str(photo), "--model-store", str(store), "--json"])
    said = json.load(io.StringIO(capsys.readouterr().out))
    assert code == {"same": 0, "differs": 1, "cannot be verified": 2}[said["verdict"]]
    return code, said


def differing(said: dict) -> dict[str, str]:
    """What differs, and how."""
    return {check["what"]: check["text"] for check in said["checks"] if check["verdict"] == "differs"}


def unchecked(said: dict) -> dict[str, str]:
    return {check["what"]: check["text"] for check in said["checks"] if check["verdict"] == "not checked"}
