"""Is a reply what its receipt says? A reply, held against the same computed again. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showcause.reply import ClassTarget, Difference, Explanation, Neuron, Part, Rectangle, Reply, Residual, Target
from showcause.sameness import (
    DIFFERS,
    NOISE,
    NOT_CHECKED,
    SAME,
    TOLERANCE,
    Check,
    close,
    equal,
    picture,
    placed,
    step_of,
    within,
)

RANK_TOLERANCE = 1e-3  # of rank correlations: where maps are flat, ranks change with the last bits

# The digests of a receipt, and what they are of.
DIGESTS = {
    "weights_sha256": "weights.safetensors",
    "manifest_sha256": "model.toml",
    "labels_sha256": "labels.txt",
    "parts_sha256": "parts.json",
    "chip_sha256": "chip.safetensors",
    "maps_sha256": "maps.json",
    "input_sha256": "photo",
}
# What computed. The answer does not depend on it, beyond the tolerances.
COMPUTED_BY = ("showcause_version", "runtime", "runtime_version", "device", "compute_dtype")


def compare(found: Reply, wanted: Reply) -> list[Check]:
    """What a reply says, held against what was computed again.

    wanted: with at least the predictions, maps, pictures and boxes that ``found`` has. What a reply does not carry is
    not checked, and that is said. Digests are for ``compare_digests``, what computed is for ``computed_by``; timings
    and the request id cannot be checked.
    """
    return [
        *_settings(found.receipt, wanted.receipt),
        *_predictions(found, wanted),
        equal("input frame", asdict(found.frame), asdict(wanted.frame)),
        *_explanations(found, wanted),
        *_agreements(found, wanted),
    ]


def compare_digests(receipt: Mapping[str, object], own: Mapping[str, str]) -> list[Check]:
    """The receipt's digests against those of what is there, both by the receipt's names; "" is no file."""
    checks = []
    for key, name in DIGESTS.items():
        said, now = receipt.get(key, ""), own.get(key, "")
        if said and now and said != now:
            checks.append(Check(name, DIFFERS, f"another file, of SHA-256 {now} instead of {said}"))
        elif said != now:
            text = "there is one, and there was none" if now else f"there is none; wanted is SHA-256 {said}"
            checks.append(Check(name, DIFFERS, text))
        elif said:
            checks.append(Check(name, SAME))
    return checks


def computed_by(receipt: Mapping[str, object], own: Mapping[str, object]) -> list[str]:
    """Versions and devices that differ: for the reader to know, no difference of the answer."""
    differing = [key for key in COMPUTED_BY if receipt.get(key) != own.get(key)]
    return [f"{key} was {receipt.get(key)}, and is {own.get(key)} here" for key in differing]


def _settings(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Check]:
    """A receipt beside its digests. It holds parameters as they are settled, which settling again does not change."""
    sent, own = (
        {
            name: parameters | {"method_version": row["method_version"]}
            for row in receipt["methods"]
            for name, parameters in row["method"].items()
        }
        for receipt in (found, wanted)
    )
    for name, parameters in sent.items():
        yield equal(f"parameters of {name}", parameters, own.get(name, {}))
    ours = (*DIGESTS, *COMPUTED_BY, "methods")
    others = [{key: value for key, value in each.items() if key not in ours} for each in (found, wanted)]
    yield equal("region and preprocessing", *others)


def _predictions(found: Reply, wanted: Reply) -> Iterator[Check]:
    """Two classes whose logits are the same may have changed places: what counts is the logit at each place."""
    sent, strongest = found.predictions, wanted.predictions[: len(found.predictions)]
    own = {one.index: one for one in wanted.predictions}
    scale = max((abs(one.logit) for one in strongest), default=0.0)
    alike = len({one.index for one in sent}) == len(sent) == len(strongest) > 0 and all(
        one.index in own
        and own[one.index].label == one.label
        and abs(own[one.index].logit - other.logit) <= TOLERANCE * scale
        for one, other in zip(sent, strongest, strict=True)
    )
    told, meant = (", ".join(f"{one.label} ({one.index})" for one in each) or "none" for each in (sent, strongest))
    yield Check("classes", SAME) if alike else Check("classes", DIFFERS, f"{told}; instead of {meant}")
    if not sent or any(one.index not in own for one in sent):
        return
    yield close("logits", [one.logit for one in sent], [own[one.index].logit for one in sent])
    if found.probability_kind != wanted.probability_kind:
        yield Check("probabilities", DIFFERS, f"{found.probability_kind} instead of {wanted.probability_kind}")
        return
    off = max(abs(one.probability - own[one.index].probability) for one in sent)
    # By as much as the logits may change: a softmax has a slope of at most 1/4 by each of two, a sigmoid by one.
    yield within("probabilities", off, max(TOLERANCE * scale / 2, NOISE))


def _explanations(found: Reply, wanted: Reply) -> Iterator[Check]:
    sent = [(_meant(one.target), one.method) for one in found.explanations]
    own = {(_meant(one.target), one.method): one for one in wanted.explanations}
    if sent != list(own):
        told, meant = (
            ", ".join(f"{one.target} by {one.method}" for one in reply.explanations) or "none"
            for reply in (found, wanted)
        )
        yield Check("explanations", DIFFERS, f"{told}; instead of {meant}")
    for key, one in zip(sent, found.explanations, strict=True):
        if key in own:
            yield from _explanation(one, own[key], wanted)


def _meant(target: Target) -> object:
    """A target without labels, which are compared by themselves."""
    match target:
        case ClassTarget():
            return target.index
        case Difference(ClassTarget() as of, ClassTarget() as versus):
            return of.index, versus.index
    return target


def _explanation(found: Explanation, wanted: Explanation, reply: Reply) -> Iterator[Check]:
    name = f"{wanted.target} by {wanted.method}"
    facts: list[dict[str, object]] = [
        {
            "target": str(one.target),
            "kind": one.kind,
            "evidence": [type(each).__name__ for each in one.evidence],
            "test scores": [asdict(score) for score in one.test_scores],
        }
        for one in (found, wanted)
    ]
    yield equal(f"kind and test scores of {name}", *facts)
    if found.residual and wanted.residual:
        yield _residual(f"residual of {name}", found.residual, wanted.residual, wanted.target, reply)
    if found.map is None:
        yield Check(f"map of {name}", NOT_CHECKED, "the reply does not carry it")
    elif wanted.map is not None:
        yield close(f"map of {name}", found.map, wanted.map, step=step_of(wanted.map, found.map_dtype))
    if wanted.weights is not None and found.weights is None:
        yield Check(f"weights of {name}", NOT_CHECKED, "the reply does not carry them")
    elif found.weights is not None:
        own: NDArray[Any] = np.empty(0) if wanted.weights is None else wanted.weights
        yield close(f"weights of {name}", found.weights, own)
    if found.parts or wanted.parts:
        yield from _parts(name, found, wanted, reply)
    if found.box is not None:
        yield _box(f"box of {name}", found, wanted, reply)
    pictures = {one.kind: one for one in found.pictures}
    if len(pictures) < len(found.pictures):
        yield Check(f"pictures of {name}", DIFFERS, "there are several of a kind")
    for twin in wanted.pictures:
        what = f"{twin.kind} of {name}"
        if twin.kind in pictures:
            yield picture(what, pictures[twin.kind], twin)
        else:
            yield Check(what, NOT_CHECKED, "the reply does not carry it")


def _residual(what: str, found: Residual, wanted: Residual, target: Target, reply: Reply) -> Check:
    # A difference of two logits may be next to nothing, and is known only as well as they are.
    logits = 0.0 if isinstance(target, Neuron) else max(abs(one.logit) for one in reply.predictions)
    sent, own = ([one.contribution_sum, one.bias, one.score] for one in (found, wanted))
    return close(what, sent, own, scale=max(logits, NOISE / TOLERANCE))


def _parts(name: str, found: Explanation, wanted: Explanation, reply: Reply) -> Iterator[Check]:
    own = {part.filter: part for part in wanted.parts}
    filters = [part.filter for part in found.parts]
    if sorted(filters) != sorted(own):
        told, meant = (", ".join(map(str, each)) or "none" for each in (filters, own))
        yield Check(f"parts of {name}", DIFFERS, f"of the filters {told}; instead of {meant}")
        return
    twins = [own[number] for number in filters]
    yield equal(f"parts of {name}", _named(found.parts), _named(twins))
    for value in ("activation", "contribution", "share"):
        sent, computed = ([getattr(part, value) for part in each] for each in (found.parts, twins))
        yield close(f"{value}s of the parts of {name}", sent, computed)
    ranked = [abs(part.contribution) for part in wanted.parts]
    yield close(f"order of the parts of {name}", [abs(part.contribution) for part in twins], ranked)
    what = f"places of the parts of {name}"
    for one, other in zip(found.parts, twins, strict=True):
        if [len(line) for line in one.outlines] != [len(line) for line in other.outlines]:
            yield Check(what, DIFFERS, f"the outlines of filter {one.filter} are of another shape")
            return
    places, own_places = ([value for one in each for value in _places(one)] for each in (found.parts, twins))
    yield placed(what, places, own_places, _pixel(reply))


def _named(parts: Sequence[Part]) -> dict[str, object]:
    keys = ("layer", "category", "name", "name_agreement", "name_chance")
    return {f"filter {part.filter}": {key: getattr(part, key) for key in keys} for part in parts}


def _places(part: Part) -> list[float]:
    """All coordinates of a part."""
    return [*part.center, *_edges(part.box), *(value for line in part.outlines for point in line for value in point)]


def _edges(box: Rectangle) -> tuple[float, float, float, float]:
    return box.x_min, box.y_min, box.x_max, box.y_max


def _pixel(reply: Reply) -> float:
    """Of the network's input, in photo pixels."""
    frame = reply.frame
    return max(frame.seen.width / frame.network_width, frame.seen.height / frame.network_height)


def _box(what: str, found: Explanation, wanted: Explanation, reply: Reply) -> Check:
    if found.box is None or wanted.box is None:
        return Check(what, DIFFERS, "there is one, and nothing in the map stands out")
    if found.box_threshold != wanted.box_threshold:
        return Check(what, DIFFERS, f"cut at {found.box_threshold} instead of {wanted.box_threshold}")
    return placed(what, _edges(found.box), _edges(wanted.box), _pixel(reply))


def _agreements(found: Reply, wanted: Reply) -> Iterator[Check]:
    sent, own = (
        {(_meant(one.target), one.method, one.other_method): one for one in reply.agreements}
        for reply in (found, wanted)
    )
    if list(sent) != list(own) or len(sent) < len(found.agreements):
        yield Check("agreements", DIFFERS, f"{len(found.agreements)}, not of the {len(own)} pairs that there are")
    for key in (key for key in own if key in sent):
        what = f"agreement of {key[1]} and {key[2]} on {own[key].target}"
        if sent[key].target != own[key].target:
            yield Check(what, DIFFERS, f"on {sent[key].target} instead of {own[key].target}")
        off = abs(sent[key].rank_correlation - own[key].rank_correlation)
        yield within(what, off, RANK_TOLERANCE)
