"""'The same', as the project defines it: same classes; logits and maps within 1e-4 of their maximum; pictures with at
most 0.1% of pixels off by more than 3/255."""

import io

import numpy as np
import pytest
from PIL import Image

from showcause.reply import Reply
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal


def opened(envelope: bytes) -> Reply:
    return read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope)))


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max())


def assert_same(found: Reply, wanted: Reply) -> None:
    assert [p.label for p in found.predictions] == [p.label for p in wanted.predictions]
    assert close(*(np.array([p.logit for p in reply.predictions]) for reply in (found, wanted)))
    assert found.frame == wanted.frame
    assert len(found.explanations) == len(wanted.explanations)
    assert [a.rank_correlation for a in found.agreements] == pytest.approx(
        [a.rank_correlation for a in wanted.agreements], abs=1e-3
    )
    for one, other in zip(found.explanations, wanted.explanations, strict=True):
        assert (one.method, one.target, one.kind) == (other.method, other.target, other.kind)
        assert (one.map is None) == (other.map is None)
        assert one.map is None or close(one.map, other.map)
        assert (one.weights is None) == (other.weights is None)
        assert one.weights is None or close(one.weights, other.weights)
        assert [part.filter for part in one.parts] == [part.filter for part in other.parts]
        assert close(*(np.array([part.contribution for part in each.parts] or [0]) for each in (one, other)))
        assert [part.center for part in one.parts] == [part.center for part in other.parts]
        assert one.test_scores == other.test_scores
        assert (one.box is None) == (other.box is None)
        assert [p.kind for p in one.pictures] == [p.kind for p in other.pictures]
        for picture, twin in zip(one.pictures, other.pictures, strict=True):
            assert pixels_off(picture.png, twin.png) <= 1e-3


def pixels_off(png: bytes, twin: bytes) -> float:
    """Share of pixels that differ by more than 3/255 in any channel."""
    one, other = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (png, twin))
    assert one.shape == other.shape
    return float((np.abs(one - other).max(-1) > 3).mean())
