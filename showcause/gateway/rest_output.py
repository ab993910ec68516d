"""Replies over HTTP, in the form that the caller accepts: JSON, the first picture as PNG, or numpy's npz."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from showcause.gateway.rest_input import JSON_TYPE, Refused
from showcause.v1 import service_pb2
from showcause.wire_explanation import read_map
from showcause.wire_tables import DTYPES

PNG_TYPE, NPZ_TYPE = "image/png", "application/x-npz"
QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def accepted(request: Request, offers: Sequence[str] = (JSON_TYPE,)) -> str:
    """The offer that the caller's Accept likes best (RFC 9110, section 12.5.1); raises Refused with 406 if none.

    Between equals, one that is named goes before one that only a wildcard covers, then the earlier offer.
    """
    header = ",".join(request.headers.getlist("accept")) or "*/*"
    ranked = [(*_liking(header, offer), -place, offer) for place, offer in enumerate(offers)]
    quality, _, _, best = max(ranked)
    if not quality:
        raise Refused(406, "no such reply", field="accept", value=header, allowed=", ".join(offers))
    return best


def _liking(header: str, offer: str) -> tuple[float, int]:
    """What the most specific of the header's ranges that covers the offer says: (quality, specificity)."""
    specificities = {"*/*": 0, f"{offer.split('/', maxsplit=1)[0]}/*": 1, offer: 2}
    found = [(-1, 0.0)]
    for part in header.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if name in specificities and QUALITY.fullmatch(quality):
            found.append((specificities[name], float(quality)))
    specificity, best = max(found)
    return best, specificity


def as_json(message: Message) -> Response:
    """proto3 JSON with the contract's field names; what has no presence is always there."""
    return Response(_json(message), media_type=JSON_TYPE)


def _json(message: Message) -> str:
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )


def as_png(message: service_pb2.ExplainResponse) -> Response:
    """The first picture of the first explanation."""
    return Response(message.explanations[0].pictures[0].png, media_type=PNG_TYPE)


def as_npz(message: service_pb2.ExplainResponse) -> Response:
    """Arrays by the explanations' order, and all else as JSON; no pickles.

    map_0, ...: float32 of shape (height, width), the values whatever dtype was asked for. weights_0, ...: as in
    ``Explanation.weights``. reply: the bytes (uint8) of the reply as JSON, without the data of these arrays.
    """
    arrays: dict[str, Any] = {}
    for position, explanation in enumerate(message.explanations):
        if explanation.HasField("map"):
            arrays[f"map_{position}"] = read_map(explanation.map)
            explanation.map.ClearField("data")
        if explanation.HasField("weights"):
            sent = explanation.weights
            arrays[f"weights_{position}"] = np.frombuffer(sent.data, DTYPES[sent.dtype]).reshape(tuple(sent.shape))
            sent.ClearField("data")
    arrays["reply"] = np.frombuffer(_json(message).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return Response(buffer.getvalue(), media_type=NPZ_TYPE)


# What :explain can answer; :predict answers the first.
WRITERS: dict[str, Callable[[Any], Response]] = {
    JSON_TYPE: as_json,
    PNG_TYPE: as_png,
    NPZ_TYPE: as_npz,
}
