"""The real service's log: each request is found in it by its id and by its receipt, and no photo ever."""

import json
import socket
import time

import httpx
import pytest

from showcause import Client
from showcause.errors import InvalidArgument
from showcause.receipt import receipt_sha256

JSON = {"accept": "application/json", "content-type": "image/jpeg", "x-request-id": "by-rest"}


def lines(service, **wanted) -> list[dict]:
    """Its lines that have these values; what is logged last comes a moment after the reply."""
    deadline = time.monotonic() + 5
    while True:
        parsed = [json.loads(line) for line in list(service.lines) if line.startswith('{"time"')]
        found = [line for line in parsed if wanted.items() <= line.items()]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_reply_s_line_is_found_by_its_receipt(service, photo):
    with Client(service.grpc) as client:
        reply = client.explain(photo, methods=["grad_cam", "linear_map"], target=["cat", "dog"])
    (line,) = lines(service, receipt_sha256=reply.receipt_sha256, request_id=reply.request_id)
    assert line["methods"] == ["grad_cam", "linear_map"]
    assert (line["code"], line["protocol"], line["model"]) == ("OK", "grpc", "animals-bcos")
    seconds = line["seconds"]
    assert seconds["forward"] > 0
    assert sum(seconds.values()) - seconds["total"] == pytest.approx(seconds["total"], rel=0.2), "stages make the total"


def test_who_has_the_json_of_rest_finds_it_too(service, photo):
    url = f"{service.rest}/v1/models/animals-bcos:explain?target=cat"
    receipt = httpx.post(url, content=photo, headers=JSON, timeout=60).json()["receipt"]
    found = lines(service, receipt_sha256=receipt_sha256(receipt), request_id="by-rest")
    assert [line["protocol"] for line in found] == ["rest"]


def test_whatever_is_sent_a_line_is_an_object(service, photo):
    """Garbage to every port, as port scans send it: what libraries say of it comes in the same form."""
    for address in (service.rest, service.metrics, service.grpc):
        host, port = address.removeprefix("http://").rsplit(":", 1)
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 1000):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(garbage)
    assert lines(service, logger="uvicorn.error")
    with Client(service.grpc) as client:
        client.predict(photo)
    begun = next(number for number, line in enumerate(service.lines) if "serving gRPC" in line)
    for line in service.lines[begun:]:
        assert isinstance(json.loads(line), dict), line


def test_what_fails_says_why_and_nothing_of_the_photo(service, photo):
    marked = b"NOBODY-MAY-READ-THIS" * 10
    with Client(service.grpc) as client:
        with pytest.raises(InvalidArgument):
            client.explain(marked)
        events = list(client.explain_stream([("one", photo), ("two", marked)]))
    assert [bool(event.error) for event in sorted(events, key=lambda event: event.id)] == [False, True]
    assert len(lines(service, reason="IMAGE_NOT_DECODABLE", code="INVALID_ARGUMENT")) >= 2
    assert lines(service, protocol="stream", code="OK")
    assert "NOBODY-MAY" not in service.output
    assert '"cat"' not in service.output, "nor what was predicted"
