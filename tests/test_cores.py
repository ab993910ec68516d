"""How many cores a service computes with, in a container that has a limit."""

import os

import pytest

from showcause.engine.cores import cores


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
