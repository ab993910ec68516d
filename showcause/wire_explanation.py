"""Explanations between plain data (``showcause.reply``) and protobuf (``showcause.v1``). Imports no torch."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showcause import reply as r
from showcause.v1 import explanation_pb2, input_pb2, method_pb2, service_pb2
from showcause.wire_tables import DTYPES, KIND_NUMBERS, PICTURE_KIND_NUMBERS, name_of


def rectangle_message(rectangle: r.Rectangle) -> input_pb2.Rectangle:
    return input_pb2.Rectangle(
        x_min=rectangle.x_min, y_min=rectangle.y_min, x_max=rectangle.x_max, y_max=rectangle.y_max
    )


def read_rectangle(message: input_pb2.Rectangle) -> r.Rectangle:
    return r.Rectangle(message.x_min, message.y_min, message.x_max, message.y_max)


def map_message(values: NDArray[np.floating[Any]], dtype: np.dtype[np.generic]) -> explanation_pb2.Map:
    """A (h, w) float map in the dtype asked for; uint8 spans the map's own range."""
    number = next(number for number, kind in DTYPES.items() if number and kind == dtype)
    scale, offset = 1.0, 0.0
    if dtype == np.dtype("u1"):
        offset, scale = float(values.min()), float(np.ptp(values)) / 255 or 1.0
        values = np.rint((values - offset) / scale)
    height, width = values.shape
    return explanation_pb2.Map(
        width=width,
        height=height,
        dtype=number,  # type: ignore[arg-type]
        data=values.astype(dtype).tobytes(),
        scale=scale,
        offset=offset,
    )


def target_message(target: r.Target) -> explanation_pb2.ResolvedTarget:
    """A resolved target; raises TypeError for one that is not."""

    def of_class(one: r.ClassTarget) -> explanation_pb2.ClassTarget:
        return explanation_pb2.ClassTarget(index=one.index, label=one.label)

    match target:
        case r.ClassTarget():
            return explanation_pb2.ResolvedTarget(class_target=of_class(target))
        case r.Neuron(layer, int(channel), (row, column)):
            place = method_pb2.Place(row=row, column=column)
            neuron = method_pb2.Neuron(layer=layer, channel=channel, place=place)
            return explanation_pb2.ResolvedTarget(neuron=neuron)
        case r.Difference(r.ClassTarget() as of, r.ClassTarget() as versus):
            difference = explanation_pb2.ClassDifference(target=of_class(of), versus=of_class(versus))
            return explanation_pb2.ResolvedTarget(class_difference=difference)
    raise TypeError(f"{target!r} is not resolved")


def read_target(message: explanation_pb2.ResolvedTarget) -> r.Target:
    def of_class(one: explanation_pb2.ClassTarget) -> r.ClassTarget:
        return r.ClassTarget(one.index, one.label)

    match message.WhichOneof("target"):
        case "neuron":
            place = message.neuron.place
            return r.Neuron(message.neuron.layer, message.neuron.channel, (place.row, place.column))
        case "class_difference":
            return r.Difference(of_class(message.class_difference.target), of_class(message.class_difference.versus))
    return of_class(message.class_target)


def part_message(part: r.Part) -> explanation_pb2.Part:
    message = explanation_pb2.Part(
        filter=part.filter,
        layer=part.layer,
        category=part.category,
        name=part.name,
        name_agreement=part.name_agreement,
        name_chance=part.name_chance,
        center=explanation_pb2.Point(x=part.center[0], y=part.center[1]),
        box=rectangle_message(part.box),
        activation=part.activation,
        contribution=part.contribution,
        share=part.share,
    )
    for polygon in part.outlines:
        points = message.outlines.add().points
        for x, y in polygon:
            points.add(x=x, y=y)
    return message


def read_part(message: explanation_pb2.Part) -> r.Part:
    return r.Part(
        filter=message.filter,
        layer=message.layer,
        category=message.category,
        name=message.name,
        name_agreement=message.name_agreement,
        name_chance=message.name_chance,
        center=(message.center.x, message.center.y),
        box=read_rectangle(message.box),
        outlines=tuple(tuple((point.x, point.y) for point in polygon.points) for polygon in message.outlines),
        activation=message.activation,
        contribution=message.contribution,
        share=message.share,
    )


def explanation_message(
    explanation: r.Explanation, map_dtype: np.dtype[np.generic] | None
) -> explanation_pb2.Explanation:
    """The explanation; its map in ``map_dtype``, or left out."""
    message = explanation_pb2.Explanation(
        method=explanation.method,
        target=target_message(explanation.target),
        kind=KIND_NUMBERS[explanation.kind],
        pictures=[
            explanation_pb2.Picture(
                kind=PICTURE_KIND_NUMBERS[picture.kind],
                png=picture.png,
                width=picture.width,
                height=picture.height,
            )
            for picture in explanation.pictures
        ],
        parts=[part_message(part) for part in explanation.parts],
    )
    for evidence in explanation.evidence:
        message.evidence.append(evidence_message(evidence))
    if explanation.box is not None:
        message.box.CopyFrom(rectangle_message(explanation.box))
        message.box_threshold = explanation.box_threshold
    if explanation.map is not None and map_dtype is not None:
        message.map.CopyFrom(map_message(explanation.map, map_dtype))
    if explanation.weights is not None:
        weights = explanation.weights
        message.weights.CopyFrom(
            input_pb2.Tensor(
                shape=weights.shape, dtype=input_pb2.DTYPE_FLOAT32, data=weights.astype("<f4", copy=False).tobytes()
            )
        )
    return message


def read_explanation(message: explanation_pb2.Explanation) -> r.Explanation:
    weights = message.weights
    return r.Explanation(
        method=message.method,
        target=read_target(message.target),
        kind=name_of(KIND_NUMBERS, message.kind),
        evidence=tuple(filter(None, map(read_evidence, message.evidence))),
        map=read_map(message.map) if message.HasField("map") else None,
        pictures=tuple(
            r.Picture(name_of(PICTURE_KIND_NUMBERS, picture.kind), picture.png, picture.width, picture.height)
            for picture in message.pictures
        ),
        weights=np.frombuffer(weights.data, DTYPES[weights.dtype]).reshape(tuple(weights.shape))
        if message.HasField("weights")
        else None,
        parts=tuple(read_part(part) for part in message.parts),
        box=read_rectangle(message.box) if message.HasField("box") else None,
        box_threshold=message.box_threshold,
        map_dtype=DTYPES[message.map.dtype].name,
    )


def evidence_message(evidence: r.Residual | r.TestScore) -> explanation_pb2.Evidence:
    if isinstance(evidence, r.TestScore):
        return explanation_pb2.Evidence(test_score=explanation_pb2.TestScore(**asdict(evidence)))
    residual = explanation_pb2.Residual(
        contribution_sum=evidence.contribution_sum,
        bias=evidence.bias,
        score=evidence.score,
        relative_residual=evidence.relative,
    )
    return explanation_pb2.Evidence(residual=residual)


def read_evidence(message: explanation_pb2.Evidence) -> r.Residual | r.TestScore | None:
    """None for a kind that this version does not know."""
    match message.WhichOneof("evidence"):
        case "residual":
            sent = message.residual
            return r.Residual(sent.contribution_sum, sent.bias, sent.score)
        case "test_score":
            score = message.test_score
            return r.TestScore(score.measure, score.value, score.control_value, score.photo_count)
    return None


def agreement_message(agreement: r.Agreement) -> service_pb2.Agreement:
    return service_pb2.Agreement(
        target=target_message(agreement.target),
        method=agreement.method,
        other_method=agreement.other_method,
        rank_correlation=agreement.rank_correlation,
    )


def read_agreement(message: service_pb2.Agreement) -> r.Agreement:
    return r.Agreement(read_target(message.target), message.method, message.other_method, message.rank_correlation)


def read_map(message: explanation_pb2.Map) -> NDArray[np.float32]:
    """The map as float32 (h, w), whatever it was sent as."""
    entries = np.frombuffer(message.data, DTYPES[message.dtype]).reshape(message.height, message.width)
    if message.dtype == input_pb2.DTYPE_UINT8:
        return (message.offset + message.scale * entries).astype(np.float32)
    return entries.astype(np.float32)
