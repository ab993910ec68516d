"""The shapes in which a model is served for `make scale`, and the photos of given sizes."""

import io
import os

import pytest
from PIL import Image

from benchmarks.scale_bare import sized_jpeg
from benchmarks.scale_served import Shape, on_cores, photos_a_second, shapes, with_batch
from showcause.manifest import read_manifest


@pytest.mark.parametrize(("cores", "fewer"), [(1, []), (2, [1]), (6, [1, 2, 4]), (8, [1, 2, 4])])
def test_shapes_differ_from_the_first_in_one_thing(cores, fewer):
    usual, *others = shapes(cores, 16)
    assert usual == Shape(1, cores, 16)
    assert [shape.cores for shape in others if shape.cores != cores] == fewer
    assert [shape.batch for shape in others if shape.batch != 16] == [1, 4, 8]
    for shape in others:
        assert sum(getattr(shape, name) != getattr(usual, name) for name in ("workers", "cores", "batch")) == 1
    assert Shape(1, 2, 4).name == "1 worker, 2 cores, batch up to 4"


def test_a_copied_model_differs_in_its_batches(shipped, tmp_path):
    with_batch(shipped, tmp_path / "copy", 4)
    before, after = read_manifest(shipped), read_manifest(tmp_path / "copy")
    assert (before.serving.batch_size, after.serving.batch_size) == (16, 4)
    assert after.weights_sha256 == before.weights_sha256
    toml = tmp_path / "copy" / "model.toml"
    toml.write_text(toml.read_text().replace("batch_size", "size_of_batches"))
    with pytest.raises(ValueError, match="batch_size 0 times"):
        with_batch(tmp_path / "copy", tmp_path / "other", 4)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system binds no processes")
def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_photos_have_the_size_that_was_asked_for():
    for megapixels in (0.1, 1):
        width, height = Image.open(io.BytesIO(sized_jpeg(megapixels))).size
        assert width * height == pytest.approx(1e6 * megapixels, rel=0.01)
        assert width / height == pytest.approx(4 / 3, rel=0.01)


def test_throughput_is_of_what_was_served():
    times = {"served explain": [1.0, 4.0, 2.0], "decode": [0.1, 0.1, 0.1]}
    assert photos_a_second(times, 10) == {"served explain": 5.0}
