"""``showcause verify``: a reply is computed again from its receipt, and held against what is computed then."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from showcause import store
from showcause.client import calls
from showcause.commands.reply_file import NPY, Unreadable, open_reply, read_array, read_bytes
from showcause.errors import FailedPrecondition, ShowcauseError
from showcause.manifest import Manifest, ManifestError, sha256_of
from showcause.reply import ClassTarget, Reply
from showcause.sameness import DIFFERS, NOT_CHECKED, SAME, Check
from showcause.store import StoreError
from showcause.v1 import method_pb2, model_pb2, service_pb2
from showcause.verification import compare, compare_digests, computed_by
from showcause.wire import read_reply, unseal

if TYPE_CHECKING:
    from showcause.model import Model

Photo = bytes | NDArray[np.float32]
Request = service_pb2.ExplainRequest | service_pb2.PredictRequest
MOST_SAID = 1000  # characters of what differs in one thing; --json has all


class CannotVerify(Exception):
    """What keeps a reply from being computed again."""


@dataclass(frozen=True)
class Outcome:
    """What was found. obstacle: why nothing was computed, "" where it was. notes: what differs and may.

    receipt_sha256: by which the log of the service has the request; "" where the reply could not be read.
    """

    checks: list[Check]
    notes: list[str]
    obstacle: str = ""
    receipt_sha256: str = ""

    @property
    def verdict(self) -> str:
        if any(check.verdict == DIFFERS for check in self.checks):
            return DIFFERS
        return "cannot be verified" if self.obstacle else SAME


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reply",
        type=Path,
        metavar="REPLY",
        help="NAME.json of `showcause explain` or Reply.save, with the files beside it; or the JSON that REST answered",
    )
    parser.add_argument(
        "--photo", type=Path, required=True, metavar="FILE", help="the photo (of a tensor: .npy, float32) that was sent"
    )
    store.add_flag(parser)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, and nothing else")


def run(options: argparse.Namespace) -> int:
    """0 where the reply is what its receipt says, 1 where it differs, 2 where that cannot be told."""
    try:
        outcome = verify(options.reply, options.photo, options.model_store, options.device)
    except (Unreadable, CannotVerify, StoreError, OSError) as error:
        outcome = Outcome([], [], str(error))
    if options.json:
        print(json.dumps({"verdict": outcome.verdict} | asdict(outcome), indent=2))
    else:
        _show(outcome)
    return {SAME: 0, DIFFERS: 1}.get(outcome.verdict, 2)


def verify(path: Path, photo_path: Path, model_store: Path, device: str = "cpu") -> Outcome:
    """What a reply in a file is, beside the same computed again.

    Raises Unreadable, CannotVerify, StoreError or OSError where there is nothing that could be compared.
    """
    opened = open_reply(path)
    data = read_bytes(photo_path)
    photo = read_array(photo_path) if data.startswith(NPY) else data
    manifest = _manifest(model_store, opened.reply.receipt)
    checks = [*compare_digests(opened.reply.receipt, _digests(manifest, photo)), *opened.noticed]
    try:
        compared, notes = _computed_again(opened.reply, photo, manifest, device)
    except (CannotVerify, ManifestError, ShowcauseError) as error:
        return Outcome(checks, [], f"it cannot be computed again: {error}", opened.reply.receipt_sha256)
    return Outcome([*checks, *compared], notes, receipt_sha256=opened.reply.receipt_sha256)


def _manifest(model_store: Path, receipt: dict[str, object]) -> Manifest:
    """Of the model that the receipt names."""
    entries = store.entries(model_store)
    manifests = [entry.manifest for entry in entries if entry.manifest]
    for manifest in manifests:
        if (manifest.name, manifest.version) == (receipt["model"], receipt["version"]):
            return manifest
    has = ", ".join(f"{one.name} {one.version}" for one in manifests) or "none"
    broken = [entry.problem for entry in entries if entry.problem and entry.name == receipt["model"]]
    raise CannotVerify(
        "; ".join([f"{model_store} has no model {receipt['model']} {receipt['version']}; it has {has}", *broken])
    )


def _digests(manifest: Manifest, photo: Photo) -> dict[str, str]:
    """By the receipt's names; of the weights' file itself, whatever model.toml says of it."""
    weights = manifest.weights_path
    return {
        "weights_sha256": sha256_of(weights) if weights.exists() else "",
        "manifest_sha256": manifest.manifest_sha256,
        "labels_sha256": manifest.labels_sha256,
        "parts_sha256": manifest.parts_sha256,
        "chip_sha256": manifest.chip_sha256,
        "maps_sha256": manifest.maps_sha256,
        "input_sha256": hashlib.sha256(photo if isinstance(photo, bytes) else photo.tobytes()).hexdigest(),
    }


def _computed_again(found: Reply, photo: Photo, manifest: Manifest, device: str) -> tuple[list[Check], list[str]]:
    """What was compared, and notes; raises what tells that it cannot be computed."""
    try:
        from showcause.commands.devices import check_device
        from showcause.methods import METHODS
        from showcause.model import load
    except ModuleNotFoundError as error:
        raise CannotVerify(f"{error}; pip install 'showcause[worker]'") from error
    receipt = ParseDict(found.receipt, model_pb2.Receipt())
    for row in receipt.methods:
        name = row.method.WhichOneof("method") or "nothing"
        if name not in METHODS or METHODS[name].version != row.method_version:
            now = f"here it has {METHODS[name].version}" if name in METHODS else "there is no such method here"
            raise CannotVerify(f"it was computed by {name} of version {row.method_version}, and {now}")
    check_device(device, CannotVerify)
    model = load(manifest.folder, device)

    def compared(map_size: tuple[int, int] | None) -> tuple[list[Check], Reply]:
        again = _answer(model, lambda strongest: request_of(found, receipt, photo, manifest, map_size, strongest))
        return compare(found, again), again

    checks, again = compared(None)
    shapes = {one.map.shape for one in found.explanations if one.map is not None}
    if _differing(checks) and len(shapes) == 1:
        # A reply does not say whether the size of its maps was asked for, or is their own.
        ((height, width),) = shapes
        with suppress(ShowcauseError):  # not that size
            checks = min(checks, compared((width, height))[0], key=_differing)
    return checks, computed_by(found.receipt, again.receipt)


def _differing(checks: list[Check]) -> int:
    return sum(check.verdict == DIFFERS for check in checks)


def _answer(model: "Model", request: Callable[[bool], Request]) -> Reply:
    """The worker's own answer. Some classes cannot be asked for, and are explained where they are among the strongest:
    those of filter_parts that no filter has learned."""
    try:
        return _explained(model, request(False))
    except FailedPrecondition:
        return _explained(model, request(True))


def _explained(model: "Model", request: Request) -> Reply:
    from showcause.worker import Call, explain

    operation = "predict" if isinstance(request, service_pb2.PredictRequest) else "explain"
    (envelope,) = explain(model, [Call(operation, request.SerializeToString())])
    return read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope)))


def request_of(
    found: Reply,
    receipt: model_pb2.Receipt,
    photo: Photo,
    manifest: Manifest,
    map_size: tuple[int, int] | None,
    strongest: bool,
) -> Request:
    """The request that a reply may have answered, for all predictions.

    map_size: None for each method's own. strongest: whether classes are asked for as the strongest, and not by index.
    Raises CannotVerify.
    """
    region = None
    if receipt.HasField("region"):
        region = (receipt.region.x_min, receipt.region.y_min, receipt.region.x_max, receipt.region.y_max)
    count = len(manifest.labels)
    if not (found.explanations or receipt.methods):
        return calls.predict_request(photo, region=region, prediction_count=count)
    maps = [one.map_dtype for one in found.explanations if one.map is not None]
    # Where several differ they are the methods' own.
    thresholds = {one.box_threshold for one in found.explanations if one.box is not None}
    targets = list(dict.fromkeys(one.target for one in found.explanations))
    classes = [target for target in targets if isinstance(target, ClassTarget)] if strongest else []
    try:
        request = calls.explain_request(
            photo,
            methods=[row.method for row in receipt.methods],
            region=region,
            pictures=dict.fromkeys(picture.kind for one in found.explanations for picture in one.pictures),
            map_dtype=maps[0] if maps else None,
            map_size=map_size,
            box=(thresholds.pop() if len(thresholds) == 1 else True) if thresholds else False,
            prediction_count=count,
        )
        if classes:
            request.targets.append(method_pb2.Target(top_k=len(classes)))
        request.targets.extend(calls.target_message(target) for target in targets if target not in classes)
    except (ValueError, OverflowError) as error:  # an index that no message holds, a picture of no kind
        raise CannotVerify(f"no request can be answered so: {error}") from error
    return request


def _show(outcome: Outcome) -> None:
    """For people: all that was compared, then what differs in words."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("compared", "largest difference", "allowed", ""):
        table.add_column(heading, overflow="fold", justify="right" if heading[:1] in ("l", "a") else "left")
    for check in outcome.checks:
        measured = check.largest is not None and check.allowed is not None
        numbers = (f"{check.largest:.1e}", f"{check.allowed:.1e} {check.unit}".strip()) if measured else ("", "")
        table.add_row(_printable(check.what), *numbers, check.verdict)
    if outcome.checks:
        console.print(table)
    if outcome.receipt_sha256:
        console.print(f"receipt {outcome.receipt_sha256}: so the service's log calls it")
    for line in _lines(outcome):
        console.print(_printable(line))
    if outcome.obstacle:
        print(f"showcause verify: {_printable(outcome.obstacle)}", file=sys.stderr)


def _lines(outcome: Outcome) -> Iterator[str]:
    for verdict in (NOT_CHECKED, DIFFERS):
        for check in outcome.checks:
            if check.verdict == verdict:
                yield f"{check.what}: {'not checked, ' * (verdict == NOT_CHECKED)}{check.text}"
    for note in outcome.notes:
        yield f"note: {note}"
    count = {verdict: sum(check.verdict == verdict for check in outcome.checks) for verdict in (DIFFERS, NOT_CHECKED)}
    if count[DIFFERS]:
        yield f"differs: {count[DIFFERS]} of {len(outcome.checks)}"
    elif not outcome.obstacle:
        unchecked = f", but for the {count[NOT_CHECKED]} not checked" if count[NOT_CHECKED] else ""
        yield f"the same, all {len(outcome.checks)}{unchecked}"


def _printable(text: str) -> str:
    """A reply may hold anything as a label: what would steer the terminal is shown as its number."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:MOST_SAID])
    return shown + "..." * (len(text) > MOST_SAID)
