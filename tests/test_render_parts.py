"""Pictures of parts: at the right places, numbered, named, and bounded; and parts on their way over the wire."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image

from showcause import render_parts
from showcause.errors import FailedPrecondition, InvalidArgument
from showcause.image import InputSpec, frame_of
from showcause.model import load
from showcause.outline import Located, bounds, grid_over, outlines
from showcause.render import backdrop
from showcause.reply import Part, Rectangle
from showcause.request import MOST_REPLY_BYTES
from showcause.v1 import explanation_pb2, method_pb2
from showcause.wire_explanation import part_message, read_part
from showcause.worker import explain
from tests.sameness import opened
from tests.small_models import part_name, write_part_names, write_parts_model
from tests.test_worker import explain_call

GREY = Image.new("RGB", (900, 600), (128, 128, 128))
FRAME = frame_of(GREY.size, None, InputSpec(224, 224))


def located(row: int, column: int, frame=FRAME, **facts) -> Located:
    """A part at one unit of a 13 x 13 grid."""
    values = np.zeros((13, 13))
    values[row, column] = 2.0
    grid = grid_over(frame, 15.5, 16, 13)
    (lines,) = outlines(values[None], grid)
    center = grid.place(row, column)
    given = {
        "filter": 7,
        "layer": "parts",
        "category": "zebra",
        "name": "head",
        "name_agreement": 0.7,
        "name_chance": 0.3,
    }
    part = Part(**given, center=center, box=bounds(lines, center), outlines=lines, activation=2.0, contribution=1.5,
                share=0.25)  # fmt: skip
    return Located(replace(part, **facts), values, grid)


def colors_near(picture: Image.Image, place: tuple[float, float], reach: int = 40) -> set[tuple[int, ...]]:
    x, y = (round(value) for value in place)
    return colors(picture.crop((x - reach, y - reach, x + reach, y + reach)))


def colors(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(color) for color in np.asarray(picture).reshape(-1, 3).tolist()}


def rgb(number: int) -> tuple[int, ...]:
    return tuple(int(render_parts.COLORS[number][i : i + 2], 16) for i in (1, 3, 5))


def test_outlines_are_drawn_at_their_places_in_colours_of_their_own():
    parts = [located(2, 3), located(9, 10)]
    picture = render_parts.overlay(parts, FRAME, GREY)
    assert picture.width == GREY.width
    assert picture.height > GREY.height, "a line for each below"
    for number, part in enumerate(parts):
        found = colors_near(picture, part.part.center)
        assert rgb(number) in found
        assert rgb(1 - number) not in found
    assert {rgb(0), rgb(1)} <= colors(picture.crop((0, GREY.height, *picture.size)))
    assert len(colors_near(picture, (450, 300), 20)) == 1, "nothing between them"


def test_what_was_not_seen_is_dark():
    frame = frame_of(GREY.size, Rectangle(0, 0, 300, 600), InputSpec(224, 224))
    picture = render_parts.overlay([], frame, GREY)
    assert picture.getpixel((100, 300))[0] == 128
    assert picture.getpixel((600, 300))[0] < 60


@pytest.mark.parametrize("count", [0, 1, 5, 6, 40])
def test_a_tile_for_each_part_up_to_32(count):
    parts = [located(n % 13, (5 * n) % 13) for n in range(count)]
    picture = render_parts.tiles(parts, FRAME, GREY)
    rows = -(-min(count, 32) // 5) or 1
    wide, high = 250, 310
    assert picture.size == (wide * max(1, min(count, 5)) + 10, high * rows + 10)
    assert picture.width * picture.height <= render_parts.TILE_PIXELS * max(1, min(count, 32)) * 2
    pixels = np.asarray(picture).astype(int)
    for number in range(min(count, 32)):
        x, y = 10 + number % 5 * wide, 10 + number // 5 * high
        tile = pixels[y : y + 240, x : x + 240]
        (row, column) = np.unravel_index(np.abs(tile - 128).max(-1).argmin(), (240, 240))
        assert tile[row, column].max() <= 130, "in full light at the part"
        assert np.quantile(tile.max(-1), 0.4) < 100, "muted around it"
        assert (pixels[y + 244 : y + 300, x : x + 240].min(-1) < 60).any(), "a line of text"


@pytest.mark.parametrize("size", [(1, 1), (40, 900), (900, 7), (5000, 20)])
@pytest.mark.parametrize("preprocessing", ["squash", "letterbox", "center_crop"])
def test_photos_of_odd_shapes_can_be_drawn(size, preprocessing):
    photo = Image.new("RGB", size, (90, 120, 60))
    frame = frame_of(size, None, InputSpec(224, 224, preprocessing))
    parts = [located(0, 0, frame), located(6, 6, frame), located(12, 12, frame)]
    for draw in (render_parts.overlay, render_parts.tiles):
        picture = draw(parts, frame, backdrop(photo))
        assert max(picture.size) <= 1300


@pytest.mark.parametrize("name", ["", "W" * 100_000, "Kopf des Zebras, ganz vorn im Bild, von der Seite gesehen", "頭"])
@pytest.mark.parametrize("category", ["", "ä" * 5000, "zebra"])
def test_names_of_any_length_fit(name, category):
    parts = [located(3, 3, name=name, category=category, share=-0.5)]
    assert render_parts.overlay(parts, FRAME, GREY).width == GREY.width
    render_parts.tiles(parts, FRAME, GREY)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = write_parts_model(tmp_path_factory.mktemp("store") / "small-parts")
    write_part_names(folder, [part_name(number, "head") for number in range(24)])
    return load(folder)


def test_pictures_come_in_the_order_asked(small, photo):
    kinds = ["tiles", "overlay", "heat_map"]
    found = opened(explain(small, [explain_call(photo, pictures=kinds)])[0]).explanation.pictures
    assert [picture.kind for picture in found] == kinds
    for picture in found:
        assert Image.open(io.BytesIO(picture.png)).size == (picture.width, picture.height)
    tensor = np.random.default_rng(0).random((3, 128, 128), dtype=np.float32)
    by_tensor = opened(explain(small, [explain_call(tensor, pictures=kinds)])[0]).explanation
    assert [picture.kind for picture in by_tensor.pictures] == kinds


def test_pictures_that_a_method_has_not_are_refused(small, model, photo, monkeypatch):
    for each, kind, allowed in (
        (small, "color", "heat_map, overlay, tiles"),
        (model, "tiles", "heat_map, overlay, color"),
    ):
        monkeypatch.setattr(type(each.net), "run", lambda *_: pytest.fail("the network ran"))
        with pytest.raises(FailedPrecondition, match="has no such picture") as caught:
            opened(explain(each, [explain_call(photo, pictures=["overlay", kind])])[0])
        assert (caught.value.field, caught.value.value, caught.value.allowed) == ("output.pictures", kind, allowed)


def test_parts_and_tiles_count_for_the_size_of_a_reply(small, photo):
    """4 targets with 24 tiles each are far below the limit: it is put down to where they are not."""
    many = method_pb2.Method(filter_parts=method_pb2.FilterParts(part_count=24))
    call = explain_call(photo, methods=many, top_k=4, pictures=["overlay", "tiles"])
    assert opened(explain(small, [call])[0]).explanations
    from showcause import request

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "MOST_REPLY_BYTES", MOST_REPLY_BYTES // 4)
        with pytest.raises(InvalidArgument, match="could be too large"):
            opened(explain(small, [call])[0])
        few = explain_call(photo, top_k=3, pictures=["overlay"])
        assert opened(explain(small, [few])[0]).explanations
        assert len(explain(small, [few])[0]) < MOST_REPLY_BYTES // 4


def test_a_part_comes_back_from_the_wire_as_it_was():
    part = located(4, 9).part
    message = part_message(part)
    assert read_part(explanation_pb2.Part.FromString(message.SerializeToString())) == part
    as_json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert as_json["center"] == {"x": part.center[0], "y": part.center[1]}
    assert len(as_json["outlines"]) == len(part.outlines)
    assert read_part(json_format.ParseDict(as_json, explanation_pb2.Part())) == part


def test_parts_are_saved_as_json(small, photo, tmp_path):
    reply = opened(explain(small, [explain_call(photo)])[0])
    (path, *_) = reply.save(tmp_path, "cat")
    saved = json.loads(path.read_text())["explanations"][0]["parts"]
    assert [one["filter"] for one in saved] == [part.filter for part in reply.explanation.parts]
    assert saved[0]["name"] == "head"
    assert saved[0]["box"]["x_min"] == reply.explanation.parts[0].box.x_min
    assert saved[0]["outlines"][0][0] == list(reply.explanation.parts[0].outlines[0][0])
