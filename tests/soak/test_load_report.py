"""What `make load` concludes and shows, of steps that were made up."""

from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console

from benchmarks.load import BEARABLE, SHARES, WISHES, Step, capacity, knee, photos_of
from benchmarks.load_picture import draw
from benchmarks.load_tables import tables
from benchmarks.meter import STAGES, Used
from benchmarks.soak.ask import OK
from benchmarks.soak.load import Load, Outcome, summary

USED = Used(
    0.1, {"gateway": 2.0, "jvm": 3.0, "worker": 90.0}, {"worker": 700.0}, 5e4, 3e4, 4.0, dict.fromkeys(STAGES, 2.0)
)


def found(wish: str) -> list[Step]:
    """Ten photos a second by one caller, twenty by eight; open loops bear the share of 0.9."""

    def step(seconds: float, count: int, **how: float) -> Step:
        load = Load([Outcome("a", OK, 0.0, 0.0, seconds)] * count, count, wall_seconds=10.0, cpu_seconds=1.0)
        return Step(wish, **{"callers": 0, "share": 0.0, "offered": count / 10} | how, found=summary(load), used=USED,
                    generator_cpu_ms=1.0)  # fmt: skip

    closed = [step(0.1, 100, callers=1), step(0.4, 200, callers=8)]
    return closed + [step(0.5 if share <= 0.9 else 2.0, round(200 * share), share=share) for share in SHARES]


def test_capacity_and_knee_of_one_wish():
    steps = [step for wish in WISHES for step in found(wish)]
    assert capacity(steps, "explain") == 20
    assert BEARABLE * 0.1 > 0.5
    assert knee(steps, "explain") == 18
    slow = [replace(step, found=replace(step.found, buckets={"INTERNAL/INTERNAL": 1})) for step in steps if step.share]
    assert knee(slow + [step for step in steps if step.callers], "explain") is None


def test_tables_and_picture(tmp_path):
    steps = [step for wish in WISHES for step in found(wish)]
    console = Console(width=120, record=True, file=(tmp_path / "log").open("w"))
    for table in tables(steps, "a machine"):
        console.print(table)
    text = console.export_text()
    for word in (*WISHES, "8 callers", "open, 150%", "not answered", "others' cores", *STAGES):
        assert word in text
    console.file.close()
    path = tmp_path / "load.png"
    draw(steps, {"predict": 18.0, "explain": None, "explain + overlay": 18.0}, path)
    assert path.stat().st_size < 80_000
    with Image.open(path) as picture:
        assert min(picture.size) > 400


def test_photos_are_a_folder_s_jpegs(tmp_path, photo):
    (tmp_path / "a.JPG").write_bytes(photo)
    (tmp_path / "b.txt").write_text("no photo")
    assert photos_of(tmp_path) == {"a.JPG": photo}
    (tmp_path / "a.JPG").unlink()
    with pytest.raises(SystemExit, match=r"has no \.jpg"):
        photos_of(tmp_path)
    assert len(photos_of(None)) == 6
