"""Which model version a request means."""

from dataclasses import replace

import pytest

from showcause.errors import InvalidArgument, NotFound
from showcause.gateway.deployments import Deployments, version_order
from showcause.manifest import read_manifest


@pytest.fixture
def manifest(shipped):
    return read_manifest(shipped)


def version(manifest, number, name="m"):
    return replace(manifest, name=name, version=number)


def test_the_first_is_the_default_until_another_is_chosen(manifest):
    deployments = Deployments()
    for number in ("1.9", "1.10", "1.2"):
        assert deployments.put(version(manifest, number), f"m-{number}") is None
    assert deployments.versions("m") == ["1.2", "1.9", "1.10"]
    assert deployments.find("", "").key == deployments.find("m", "1.9").key == "m-1.9"
    deployments.set_default("m", "1.10")
    assert deployments.find("m", "").key == deployments.default("m").key == "m-1.10"
    assert [each.key for each in deployments] == ["m-1.2", "m-1.9", "m-1.10"]


def test_the_same_version_is_replaced_and_stays_the_default(manifest):
    deployments = Deployments()
    deployments.put(version(manifest, "1"), "old")
    deployments.put(version(manifest, "2"), "other")
    assert deployments.put(version(manifest, "1"), "new").key == "old"
    assert deployments.find("m", "").key == "new"


def test_what_is_taken_away_is_found_no_more(manifest):
    deployments = Deployments()
    for number in ("1", "2", "3"):
        deployments.put(version(manifest, number), number)
    deployments.put(version(manifest, "1", "n"), "n")
    assert [gone.key for gone in deployments.take("m", "1")] == ["1"]
    assert deployments.find("m", "").key == "3", "the newest is the default when the default is gone"
    with pytest.raises(NotFound) as caught:
        deployments.find("m", "1")
    assert (caught.value.field, caught.value.value, caught.value.allowed) == ("version", "1", "2, 3")
    assert [gone.key for gone in deployments.take("m")] == ["2", "3"]
    with pytest.raises(NotFound) as caught:
        deployments.find("m", "")
    assert (caught.value.field, caught.value.allowed) == ("model", "n")
    with pytest.raises(NotFound):
        deployments.take("m")


def test_with_several_models_a_name_is_needed(manifest):
    deployments = Deployments()
    for name in ("b", "a"):
        deployments.put(version(manifest, "1", name), name)
    with pytest.raises(InvalidArgument) as caught:
        deployments.find("", "")
    assert (caught.value.field, caught.value.allowed) == ("model", "a, b")


def test_slots_follow_workers_and_batches(manifest):
    serving = replace(manifest.serving, workers=2, batch_size=8)
    for workers, slots in ((None, 32), (3, 48)):
        deployments = Deployments(workers, queue_size=5)
        deployments.put(replace(manifest, serving=serving), "m")
        (one,) = deployments
        assert (one.admission.slots, one.admission.most_waiting) == (slots, 5)


@pytest.mark.parametrize(
    ("older", "newer"), [("1.9", "1.10"), ("1.0", "1.0.1"), ("2", "10"), ("a", "b"), ("1.x", "1.0")]
)
def test_versions_are_ordered_as_people_do(older, newer):
    assert version_order(older) < version_order(newer)
