"""How many cores a service computes with, in a container that has a limit."""

import os

import pytest

from showcause.engine.cores import cores, threads_of_each


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("max 100000\n", 4),
        ("200000 100000\n", 2),
        ("50000 100000\n", 1),
        ("250000 100000\n", 2),
        ("nonsense", 4),
        (None, 4),
    ],
)
def test_a_container_s_limit_counts(tmp_path, monkeypatch, text, most):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    quota = tmp_path / "cpu.max"
    if text is not None:
        quota.write_text(text)
    assert cores(quota) == most


@pytest.mark.parametrize(
    ("count", "workers", "threads"), [(2, 1, 2), (2, 3, 2), (1, 3, 1), (4, 3, 4), (16, 3, 5), (32, 3, 10), (64, 1, 64)]
)
def test_each_worker_has_its_share_and_a_few_at_least(count, workers, threads):
    assert threads_of_each(workers, count) == threads
