"""The digest that stands for a receipt."""

import hashlib

from showcause.receipt import receipt_sha256

RECEIPT = {
    "model": "m",
    "version": "0",
    "seed": "7",
    "methods": [{"method": {"cam": {"layer": ""}}, "method_version": 1}],
}


def test_it_is_what_anybody_can_compute():
    text = '{"methods":[{"method":{"cam":{}},"method_version":1}],"model":"m","seed":"7"}'
    assert receipt_sha256(RECEIPT) == hashlib.sha256(text.encode()).hexdigest()


def test_fields_that_say_nothing_change_nothing():
    """So that a receipt of today has the same digest for those who know of more fields."""
    more = {"chip_sha256": "", "steps": 0, "share": 0.0, "sure": False, "regions": [], "count": "0"}
    assert receipt_sha256(RECEIPT | more) == receipt_sha256(RECEIPT)


def test_everything_else_does():
    others = [
        {"model": "n"},
        {"seed": "8"},
        {"methods": []},
        {"device": "cuda"},
        {"methods": [{"method": {"chip": {}}}]},
    ]
    assert len({receipt_sha256(RECEIPT | other) for other in others} | {receipt_sha256(RECEIPT)}) == len(others) + 1
