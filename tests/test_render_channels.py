"""The pictures of channel importance: bars as long as weights, cells as dark as overlaps, whatever the number."""

import numpy as np
import pytest

from showcause.channels import LayerWeights, channel_importance, overlap
from showcause.manifest import read_manifest
from showcause.render_channels import BAR, FULL, MOST_CLASSES, bars, both, matrix
from showcause.v1 import explanation_pb2, service_pb2
from tests.small_models import write_model

BLUE = tuple(int(BAR[place : place + 2], 16) for place in (1, 3, 5))


def importance(weights: list[list[float]], labels: list[str] | None = None) -> service_pb2.GetChannelImportanceResponse:
    sets = [[place for place, weight in enumerate(row) if weight > 0] for row in weights]
    classes = [
        service_pb2.ClassChannels(
            class_target=explanation_pb2.ClassTarget(index=place, label=labels[place] if labels else f"class {place}"),
            channels=[service_pb2.ChannelImportance(channel=k, weight=row[k]) for k in sets[place]],
        )
        for place, row in enumerate(weights)
    ]
    return service_pb2.GetChannelImportanceResponse(layer="conv1", classes=classes, overlap=overlap(sets).ravel())


def runs_of(image, color) -> list[int]:
    """How long the color's horizontal lines are, each as a picture row has it, top to bottom, equal neighbours once."""
    inside = (np.asarray(image) == color).all(-1).sum(1)
    return [int(length) for place, length in enumerate(inside) if length and (not place or inside[place - 1] != length)]


def test_bars_are_as_long_as_their_weights():
    lengths = runs_of(bars(importance([[4.0, 3.0, 1.0]])), BLUE)
    assert len(lengths) == 3
    assert lengths[0] > 100
    assert lengths[1] / lengths[0] == pytest.approx(0.75, abs=0.02)
    assert lengths[2] / lengths[0] == pytest.approx(0.25, abs=0.02)


def test_cells_are_as_dark_as_the_overlap():
    picture = np.asarray(matrix(importance([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]))).astype(int)
    found = [tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()]
    for value in (0, 1 / 3, 1):
        wanted = np.rint(255 + value * (FULL - 255)).astype(int)
        assert tuple(wanted.tolist()) in found
    counts = [(picture == np.rint(255 + value * (FULL - 255)).astype(int)).all(-1).sum() for value in (1 / 3, 1)]
    assert counts[1] / counts[0] == pytest.approx(3 / 2, rel=0.2), "three on the diagonal, two beside it"


@pytest.mark.parametrize("count", [0, 1, 2, 7, MOST_CLASSES, MOST_CLASSES + 30])
def test_any_number_of_classes_fits(count):
    picture = both(importance([[0.5, -1.0, 2.0]] * count))
    assert max(picture.size) < 5000
    assert (np.asarray(picture) < 128).any(), "something is drawn"


def test_classes_without_channels_and_labels_of_any_kind():
    labels = ["", "a" * 3000, "Ünï çødé 動物", "two\nlines"]
    picture = both(importance([[-1.0], [0.0], [1e-30], [1e30]], labels))
    assert max(picture.size) < 3000


def test_what_a_model_s_folder_says_is_drawn(tmp_path):
    manifest = read_manifest(write_model(tmp_path / "small"))
    layer = LayerWeights("conv1", (0, 3), np.eye(2, 64, dtype=np.float32))
    found = channel_importance(service_pb2.GetChannelImportanceRequest(), manifest, {"conv1": layer})
    assert len(runs_of(bars(found), BLUE)) == 1, "two bars of the same length, side by side"
