"""What a service used between two looks, from lines of /proc and of /metrics that were written by hand."""

import os
import time
from collections import Counter

import pytest

from benchmarks.meter import STAGES, Look, counters, used
from tests.processes import busy_seconds, busy_seconds_of, cpu_seconds, cpu_seconds_of

METRICS = """\
# HELP showcause_stage_seconds Where the time went
# TYPE showcause_stage_seconds histogram
showcause_stage_seconds_bucket{le="+Inf",method="",model="m",stage="decode"} 2.0
showcause_stage_seconds_sum{method="",model="m",stage="decode"} 0.25
showcause_stage_seconds_sum{method="cam",model="m",stage="decode"} 0.5
showcause_stage_seconds_sum{method="",model="other",stage="decode"} 9.0
# TYPE showcause_request_bytes_total counter
showcause_request_bytes_total{model="m",operation="predict"} 100.0
showcause_request_bytes_total{model="m",operation="explain"} 20.0
# TYPE showcause_batch_size histogram
showcause_batch_size_sum{model="m"} 12.0
showcause_batch_size_count{model="m"} 3.0
# TYPE ts_inference_requests_total untyped
ts_inference_requests_total{model_name="m"} 7
"""


def test_cpu_time_is_read_whatever_a_process_is_called():
    stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 900 0 0 0 250 150 7 7 20 0 4 0 100 1000 10 18446744073709551615"
    assert cpu_seconds_of(stat, 100) == 4.0
    assert busy_seconds_of("cpu  100 20 30 9999 9999 4 5 6 50 0\ncpu0 1 2 3\n", 100) == 1.65
    before, busy = cpu_seconds(os.getpid()), busy_seconds()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert 0.05 < cpu_seconds(os.getpid()) - before < 5
    assert busy_seconds() - busy > 0.05
    with pytest.raises(OSError):
        cpu_seconds(2**22 + 1)


def test_counters_are_one_model_s_summed_over_the_other_labels():
    assert counters(METRICS, "m") == {"decode": 0.75, "bytes_in": 120, "batched": 12, "batches": 3}
    assert counters(METRICS, "nobody") == {}


def test_what_was_used_is_the_difference_a_photo():
    said = {"requests": 10, "bytes_in": 1000, "bytes_out": 50, "batched": 8, "batches": 4, "decode": 1.0, "queue": 2.0}
    before = Look(100.0, 50.0, Counter(gateway=1.0, worker=10.0), Counter(gateway=80.0), Counter(said))
    later = {
        "requests": 15,
        "bytes_in": 2000,
        "bytes_out": 450,
        "batched": 20,
        "batches": 6,
        "decode": 1.4,
        "queue": 3.2,
    }
    after = Look(104.0, 56.0, Counter(gateway=1.2, worker=14.0), Counter(gateway=90.0, worker=500.0), Counter(later))
    found = used(before, after, answered=4, load_cpu_seconds=0.8)
    assert found.cpu_ms == pytest.approx({"gateway": 50, "worker": 1000})
    assert found.others_cores == pytest.approx((6 - 4.2 - 0.8) / 4)
    assert found.memory_mb == {"gateway": 90, "worker": 500}
    assert (found.bytes_in, found.bytes_out, found.batch) == (200, 100, 6)
    assert found.stage_ms == pytest.approx(dict.fromkeys(STAGES, 0.0) | {"decode": 100, "queue": 300})
    assert found.stage_shares()["queue"] == pytest.approx(0.75)


def test_a_step_without_an_answer_has_figures():
    empty = Look(0.0, 0.0, Counter(), Counter(), Counter())
    found = used(empty, empty, answered=0, load_cpu_seconds=0.0)
    assert (found.batch, found.bytes_out, found.stage_shares()["queue"]) == (0, 0, 0)
