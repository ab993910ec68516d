"""What requests are expected to cost."""

import pytest

from showcause.client.calls import explain_request, predict_request
from showcause.gateway import costs
from showcause.gateway.costs import SEEN, STALE_SECONDS, Costs


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(costs.time, "monotonic", lambda: now[0])
    return now


MEASURED = {"pass": 0.1, "cam": 0.02, "gradient": 0.5, "picture": 0.03}


def expected(known: Costs, **wishes) -> float:
    return known.expected(explain_request(b"photo", **wishes), ("cam",))


def test_what_is_asked_for_adds_up():
    known = Costs()
    assert expected(known, methods=["gradient"]) == 0, "nothing is known yet"
    known.learn(MEASURED)
    assert known.expected(predict_request(b"photo"), ("cam",)) == 0.1
    assert expected(known) == pytest.approx(0.12), "the model's first method, for one target"
    assert expected(known, methods=["cam", "gradient"], target=[1, "cat"]) == pytest.approx(0.1 + 2 * 0.52)
    assert expected(known, methods=["cam"], top_k=3, pictures=["overlay", "heat_map"]) == pytest.approx(
        0.1 + 3 * (0.02 + 2 * 0.03)
    )


def test_absurd_requests_are_not_believed_to_be_dear():
    """The worker refuses them, and says why."""
    known = Costs()
    known.learn(MEASURED)
    assert expected(known, top_k=2**31 - 1) == pytest.approx(0.1 + 16 * 0.02)
    assert expected(known, top_k=-5) == pytest.approx(0.12)


def test_the_median_of_the_last_counts():
    known = Costs()
    for seconds in [9.0] * 20 + [0.1] * (SEEN - 2) + [7.0]:
        known.learn({"pass": seconds})
    assert known.of("pass") == 0.1
    assert known.of("cam") == 0


def test_what_was_long_ago_counts_no_more_beside_what_is_new(clock):
    known = Costs()
    for _ in range(SEEN):
        known.learn({"pass": 5.0})
    clock[0] += STALE_SECONDS + 1
    known.learn({"pass": 0.05})
    assert known.expected(predict_request(b"photo"), ()) == 0.05


def test_old_measurements_refuse_nobody(clock):
    known = Costs()
    known.learn(MEASURED)
    clock[0] += STALE_SECONDS - 1
    assert expected(known) == pytest.approx(0.12)
    clock[0] += 2
    assert expected(known) == 0
    assert known.of("pass") == 0.1, "told all the same"
