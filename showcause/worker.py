"""Where a photo becomes an explanation: the whole path, from a batch of requests to a batch of replies.

Items of a batch may differ in everything: predict or explain, targets, methods, outputs. An item that fails, fails
alone. Nothing here is shared between calls, so that threads may call it side by side.
"""

import hashlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import showcause
from showcause import render, render_parts, reply
from showcause.agreement import rank_correlations
from showcause.box import box_of
from showcause.clock import Clock
from showcause.errors import DeadlineExceeded, ShowcauseError, internal
from showcause.image import InputSpec, Limits, decode_enough, frame_of, share_seen, to_input
from showcause.map_scores import THRESHOLD
from showcause.methods import METHODS, Ask, Attribution
from showcause.methods.targets import Resolver
from showcause.model import Model
from showcause.nets.base import Forward, Tape, merged
from showcause.outline import Located
from showcause.placing import at_size, grid_of
from showcause.request import Job, check_size, read_explain, read_predict
from showcause.v1 import method_pb2, model_pb2, service_pb2
from showcause.wire import PICTURE, frame_message, prediction_message, seal
from showcause.wire_explanation import agreement_message, explanation_message, rectangle_message
from showcause.wire_tables import PREPROCESSING_NUMBERS, PROBABILITY_KIND_NUMBERS

log = logging.getLogger(__name__)
S = TypeVar("S")
T = TypeVar("T")

OPERATIONS = {"explain": read_explain, "predict": read_predict}


@dataclass(frozen=True)
class Call:
    """One request as the engine hands it over.

    request: a serialised ExplainRequest or PredictRequest. deadline: seconds since the epoch after which nobody waits
    any more. request_id: for the log. gone: whether the caller has gone away.
    """

    operation: str
    request: bytes
    deadline: float | None = None
    request_id: str = ""
    gone: Callable[[], bool] = lambda: False

    def check_wanted(self) -> None:
        """Raises DeadlineExceeded when nobody waits any more: before each expensive step, so that it is not taken."""
        if self.deadline is not None and time.time() > self.deadline:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the deadline passed before the worker could answer")
        if self.gone():
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the caller has gone away")


@dataclass
class Item:
    """One call on its way through ``explain``."""

    call: Call
    job: Job
    methods: dict[str, method_pb2.Method]  # settled
    tapes: list[Tape]  # the passes that they need
    ground: Image.Image | None  # what is drawn on, where something is; the photo itself is let go
    frame: reply.InputFrame
    rgb: torch.Tensor
    logits: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    targets: list[reply.Target] = field(default_factory=list)
    found: dict[tuple[reply.Target, str], Attribution] = field(default_factory=dict)  # by target and method
    failure: ShowcauseError | None = None
    runtimes: Sequence[tuple[str, str]] = ()  # names and versions of what computed it

    @property
    def company(self) -> tuple[int, tuple[tuple[bool, str], ...]]:
        """Items of equal value share a pass."""
        return self.job.target_count, tuple(sorted((tape.hold, tape.start) for tape in self.tapes))


def explain(model: Model, calls: Sequence[Call], limits: Limits = Limits()) -> list[bytes]:
    """A batch of calls -> their envelopes (``showcause.wire.seal``), in order."""
    clock = Clock(len(calls))
    prepared = _side_by_side(lambda call: _guarded(call, _prepare, model, call, limits), calls)
    clock.lap("decode_seconds")
    items = [item for item in prepared if isinstance(item, Item)]
    # Items with equally many targets, whose methods need gradients down to the same depth, share one forward pass: a
    # backward pass costs the whole batch, so that an item with ten targets is better off among its like.
    for key in sorted({item.company for item in items}):
        group = [item for item in items if item.company == key and _still_wanted(item)]
        if group:
            _compute(model, group, clock)
    return _side_by_side(
        lambda numbered: _sealed(model, numbered[1], clock, not numbered[0]), list(enumerate(prepared))
    )


def _side_by_side(step: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """In as many threads as torch has: decoding a photo and encoding a picture let go of the interpreter."""
    threads = min(len(items), torch.get_num_threads())
    if threads < 2:
        return [step(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(step, items))


def _sealed(model: Model, item: Item | ShowcauseError, clock: Clock, first: bool) -> bytes:
    """One item's envelope, with what it cost, and how exact it is, where it was computed."""
    if isinstance(item, ShowcauseError):
        return seal(item, batch_size=clock.batch_size, first_of_batch=first)
    outcome = _guarded(item.call, _answer, model, item, clock)
    cost: dict[str, float] = {}
    residuals: dict[str, float] = {}
    if not item.failure:
        cost = clock.cost([*item.methods, *([PICTURE] if item.job.pictures else [])])
        for (_, method), found in item.found.items():
            for residual in found.evidence:
                off = math.inf if math.isnan(residual.relative) else residual.relative  # no number is no small one
                residuals[method] = max(residuals.get(method, 0.0), off)
    return seal(outcome, cost, residuals, clock.batch_size, first)


def _still_wanted(item: Item) -> bool:
    late = _guarded(item.call, item.call.check_wanted)
    item.failure = late if isinstance(late, ShowcauseError) else None
    return item.failure is None


def _compute(model: Model, group: list[Item], clock: Clock) -> None:
    """One forward pass for the whole group, then the methods; what fails here fails for the group."""
    try:
        batch = torch.stack([item.rgb for item in group]).to(model.device)
        tapes = merged([tape for item in group for tape in item.tapes])
        passes = {tape.hold: model.passes.run(batch, tape) for tape in tapes or [Tape()]}
        _take_results(model, group, list(passes.values()))
        clock.lap("forward_seconds")
        _attribute(model, group, passes, clock)
        clock.lap("explain_seconds")
    except Exception:
        log.exception("a batch of %d requests failed", len(group))
        for item in group:
            item.failure = internal(item.call.request_id)


def _prepare(model: Model, call: Call, limits: Limits) -> Item:
    """Reads the request and the photo; everything that can be wrong with either is found here."""
    call.check_wanted()
    job = OPERATIONS[call.operation](call.request, model.manifest, model.layers)
    methods = {
        name: METHODS[name].settle(method, f"methods[{position}]", job.targets, model)
        for position, (name, method) in enumerate(job.methods.items())
    }
    check_size(job, methods, model.manifest)
    tapes = _tapes(model, job, methods)
    spec = model.manifest.input
    tensor = job.input.tensor
    if tensor is not None:
        whole = reply.Rectangle(0.0, 0.0, float(spec.width), float(spec.height))
        frame = reply.InputFrame(0, 0, whole, spec.width, spec.height, "none")
        photo, pixels = Image.fromarray(np.rint(tensor.transpose(1, 2, 0) * 255).astype(np.uint8)), tensor
    else:
        photo, size = decode_enough(job.input.image, lambda size: _share_needed(size, job, spec), limits)
        frame = frame_of(size, job.input.region, spec)
        pixels = to_input(photo, frame)
    ground = render.backdrop(photo) if _drawn_on(job) else None
    return Item(call, job, methods, tapes, ground, frame, torch.from_numpy(pixels))


def _drawn_on(job: Job) -> bool:
    """Whether a picture is asked for that shows the photo."""
    return bool({"overlay", "tiles"}.intersection(job.pictures))


def _share_needed(size: tuple[int, int], job: Job, spec: InputSpec) -> float:
    """How much of a photo's (width, height) the network and the pictures need."""
    drawn = min(1.0, render.OVERLAY_SIDE_PX / max(size)) if _drawn_on(job) else 0.0
    return max(drawn, share_seen(frame_of(size, job.input.region, spec)))


def _tapes(model: Model, job: Job, methods: Mapping[str, method_pb2.Method]) -> list[Tape]:
    """The passes that one request needs."""
    units = frozenset(wish.layer for wish in job.targets if isinstance(wish, reply.Neuron))
    needed = merged([METHODS[name].needs(method, model) for name, method in methods.items()])
    return [tape | Tape(units) for tape in needed]


def _take_results(model: Model, group: list[Item], passes: Sequence[Forward]) -> None:
    """Gives every item its logits, and settles what is to be explained of it."""
    forward, runtimes = passes[0], list(dict.fromkeys(each.runtime for each in passes))
    logits = forward.logits.float().cpu()
    for row, item in enumerate(group):
        item.logits, item.runtimes = logits[row], runtimes
        if item.methods:
            ranking = item.logits.argsort(descending=True, stable=True).tolist()
            item.targets = Resolver(forward, row, ranking, model.manifest.labels)(item.job.targets)


def _attribute(model: Model, group: list[Item], passes: Mapping[bool, Forward], clock: Clock) -> None:
    """Runs every method that the group's items ask for, once for all of them."""
    asks: dict[str, list[Ask]] = defaultdict(list)
    for row, item in enumerate(group):
        for name, parameters in item.methods.items():
            asks[name] += [Ask(row, target, parameters) for target in item.targets]
    for name, wanted in asks.items():
        forward = passes[METHODS[name].needs(wanted[0].parameters, model).hold]
        began = time.perf_counter()
        for ask, attribution in zip(wanted, METHODS[name].explain(forward, wanted, model), strict=True):
            group[ask.row].found[ask.target, name] = attribution
        clock.count(name, len(wanted), time.perf_counter() - began)


def _answer(model: Model, item: Item, clock: Clock) -> service_pb2.ExplainResponse:
    """Draws and writes one item's reply. A PredictResponse is, on the wire, one without explanations."""
    if item.failure is not None:
        raise item.failure
    began = time.perf_counter()
    explanations = [
        explanation_message(
            _explanation(model, item, target, name, clock), item.job.map.dtype if item.job.map else None
        )
        for target in item.targets
        for name in item.methods
    ]
    return service_pb2.ExplainResponse(
        predictions=[prediction_message(prediction) for prediction in _predictions(model, item)],
        probability_kind=PROBABILITY_KIND_NUMBERS[model.manifest.probability],
        frame=frame_message(item.frame),
        receipt=_receipt(model, item),
        timings=clock.timings(render_seconds=time.perf_counter() - began),
        explanations=explanations,
        agreements=[agreement_message(agreement) for agreement in _agreements(item)],
    )


def _explanation(model: Model, item: Item, target: reply.Target, method: str, clock: Clock) -> reply.Explanation:
    found, job = item.found[target, method], item.job
    parts = found.parts(item.frame) if found.parts else []
    began = time.perf_counter()
    pictures = tuple(render.encoded(kind, _drawn(kind, item, found, parts)) for kind in job.pictures)
    clock.count(PICTURE, len(pictures), time.perf_counter() - began)
    measured = model.map_scores.get(method)
    threshold = 0.0 if job.box is None else job.box.threshold
    if threshold is None:
        threshold = measured.threshold if measured else THRESHOLD
    return reply.Explanation(
        method=method,
        target=target,
        kind=model.manifest.kind_of(method),
        evidence=(*found.evidence, *(measured.scores if measured else ())),
        map=_raw_map(found, item) if job.map else None,
        pictures=pictures,
        weights=found.weights,
        parts=tuple(located.part for located in parts),
        box=box_of(found.map, grid_of(item.frame, found.map, found.units), threshold) if job.box else None,
        box_threshold=threshold,
    )


def _agreements(item: Item) -> list[reply.Agreement]:
    """Of every two methods, for each target."""
    names = list(item.methods)
    return [
        reply.Agreement(target, names[one], names[other], value)
        for target in item.targets
        for (one, other), value in rank_correlations([item.found[target, name].map for name in names]).items()
    ]


def _drawn(kind: str, item: Item, found: Attribution, parts: Sequence[Located]) -> Image.Image:
    """One picture; that the method has such pictures was checked with the request."""
    if item.ground is not None and kind == "tiles":
        return render_parts.tiles(parts, item.frame, item.ground)
    if item.ground is not None and kind == "overlay":
        if found.parts is not None:
            return render_parts.overlay(parts, item.frame, item.ground)
        return render.overlay(found.map, item.frame, item.ground)
    if kind == "color" and found.color is not None:
        return render.color(found.color())
    network = (item.frame.network_width, item.frame.network_height)
    return render.heat_map(at_size(found.map, found.units, network, network), item.frame)


def _raw_map(found: Attribution, item: Item) -> NDArray[np.float32]:
    """At the size that was asked for, on its native grid otherwise."""
    if item.job.map is None or item.job.map.size is None:
        return found.map
    return at_size(found.map, found.units, item.job.map.size, (item.frame.network_width, item.frame.network_height))


def _predictions(model: Model, item: Item) -> list[reply.Prediction]:
    logits = item.logits.double()
    probabilities = logits.sigmoid() if model.manifest.probability == "sigmoid" else logits.softmax(0)
    strongest = logits.argsort(descending=True, stable=True)[: item.job.prediction_count].tolist()
    return [
        reply.Prediction(index, model.manifest.labels[index], float(logits[index]), float(probabilities[index]))
        for index in strongest
    ]


def _receipt(model: Model, item: Item) -> model_pb2.Receipt:
    manifest, sent = model.manifest, item.job.input
    data = sent.image if sent.tensor is None else sent.tensor.tobytes()
    receipt = model_pb2.Receipt(
        model=manifest.name,
        version=manifest.version,
        weights_sha256=manifest.weights_sha256,
        manifest_sha256=manifest.manifest_sha256,
        labels_sha256=manifest.labels_sha256,
        parts_sha256=manifest.parts_sha256,
        maps_sha256=manifest.maps_sha256,
        chip_sha256=manifest.chip_sha256,
        input_sha256=hashlib.sha256(data).hexdigest(),
        preprocessing=PREPROCESSING_NUMBERS[item.frame.preprocessing],
        input_width=manifest.input.width,
        input_height=manifest.input.height,
        methods=[
            model_pb2.MethodReceipt(method=parameters, method_version=METHODS[name].version)
            for name, parameters in item.methods.items()
        ],
        showcause_version=showcause.__version__,
        runtime=", ".join(name for name, _ in item.runtimes),
        runtime_version=", ".join(version for _, version in item.runtimes),
        device=str(model.device),
        compute_dtype="float32",
    )
    if sent.region is not None:
        receipt.region.CopyFrom(rectangle_message(sent.region))
    return receipt


def _guarded(call: Call, step: Callable[..., T], *arguments: object) -> T | ShowcauseError:
    """The step's result, or its error: ours as it is, any other logged and made INTERNAL."""
    try:
        return step(*arguments)
    except ShowcauseError as error:
        return error
    except Exception:
        log.exception("request %s failed", call.request_id)
        return internal(call.request_id)
