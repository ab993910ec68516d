"""What is refused before it costs anything: streams, photos on a stream, uploads; and settings that do not fit."""

import argparse
import asyncio
import socket
import threading
import time

import grpc
import httpx
import pytest
from starlette.requests import Request

from showcause import Client
from showcause.errors import InvalidArgument, ResourceExhausted
from showcause.gateway import rpc
from showcause.gateway.access import Access, add_token
from showcause.gateway.metrics import Metrics
from showcause.gateway.rest import make_app
from showcause.gateway.rest_input import body_bytes
from showcause.gateway.service import Service
from showcause.gateway.settings import Settings, SettingsError, add_flags, from_flags
from showcause.gateway.uploads import Uploads
from showcause.image import Limits
from showcause.manifest import read_manifest
from showcause.tls import Tls
from tests.certificates import Authority, private
from tests.gateway.conftest import QuickEngine
from tests.gateway.served import EMPTY, served
from tests.gateway.test_service import FakeEngine

URL = "/v1/models/animals-bcos:explain"
RAW = {"content-type": "image/jpeg"}


def test_more_streams_than_are_allowed_are_refused_until_one_ends(gateway):
    more = threading.Event()

    def photos():
        yield b"first"
        more.wait(10)

    with gateway(QuickEngine(), max_streams=1) as (address, _), Client(address) as client:
        held = client.explain_stream(photos())
        assert next(held).reply
        with pytest.raises(ResourceExhausted) as caught:
            next(client.explain_stream([b"second"]))
        assert caught.value.reason == "TOO_MANY_AT_ONCE"
        assert caught.value.retry_seconds > 0
        assert client.predict(b"x").predictions, "other calls go on"
        more.set()
        assert list(held) == []
        (done,) = client.explain_stream([b"third"])
        assert done.reply


def test_a_stream_that_is_too_long_ends_when_what_was_accepted_is_answered(gateway):
    answered = []
    with gateway(QuickEngine(), max_stream_photos=3) as (address, _), Client(address) as client:
        assert len(list(client.explain_stream([b"x"] * 3))) == 3
        stream = client.explain_stream([b"x"] * 5)
        with pytest.raises(InvalidArgument, match="allowed: at most 3 photos on one stream") as caught:
            answered.extend(done.id for done in stream)
        assert sorted(answered) == ["0", "1", "2"]
        assert caught.value.field == "stream"


def test_uploads_are_bounded_by_number_and_by_bytes():
    uploads = Uploads(most_count=2, most_bytes=100)
    with uploads.reading(1000), pytest.raises(ResourceExhausted):  # alone, what is larger than all of the room
        uploads.reading(1).__enter__()
    with uploads.reading(60):
        with pytest.raises(ResourceExhausted, match="1 requests of 60 bytes"):
            uploads.reading(41).__enter__()
        with uploads.reading(40), pytest.raises(ResourceExhausted):
            uploads.reading(0).__enter__()
    assert (uploads.count, uploads.bytes) == (0, 0)


def test_a_message_waits_until_another_has_arrived_or_was_given_up(gateway):
    def slow():
        time.sleep(3)
        yield b""

    with gateway(QuickEngine(), max_uploads=1) as (address, service), grpc.insecure_channel(address) as channel:
        service.timeout_seconds = 1.0
        held = channel.stream_unary(f"/{rpc.SERVICE_NAME}/Explain").future(slow(), timeout=10)
        time.sleep(0.5)
        service.timeout_seconds = 10.0
        began = time.monotonic()
        with Client(address) as client:
            assert client.predict(b"x").predictions
        assert 0.2 < time.monotonic() - began < 2
        assert held.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_grpc_connection_that_says_nothing_is_closed(gateway, monkeypatch):
    name = "grpc.server_handshake_timeout_ms"
    assert dict(rpc.SLOW_CLIENTS)[name] == 10_000
    monkeypatch.setattr(rpc, "SLOW_CLIENTS", [(name, 300)])
    with gateway(QuickEngine()) as (address, _):
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as silent:
            while silent.recv(1000):  # the server's own first words
                pass


@pytest.mark.parametrize("limit", [{"max_uploads": 1}, {"max_upload_bytes": 10}])
def test_rest_answers_429_before_it_reads_the_body(shipped, limit):
    service = Service(served([read_manifest(shipped)]), FakeEngine(EMPTY), Metrics())
    transport = httpx.ASGITransport(make_app(service, Settings(shipped.parent, **limit)))

    async def run():
        begun, more = asyncio.Event(), asyncio.Event()

        async def slow():
            begun.set()
            yield b"a photo"
            await more.wait()

        async def never():
            raise AssertionError("the body was asked for")
            yield b""

        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            held = asyncio.create_task(client.post(URL, content=slow(), headers=RAW))
            await begun.wait()
            refused = await client.post(URL, content=never(), headers=RAW)
            listed = await client.get("/v1/models")
            more.set()
            return refused, listed, await held, await client.post(URL, content=b"a photo", headers=RAW)

    refused, listed, held, after = asyncio.run(run())
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["reason"] == "TOO_MANY_AT_ONCE"
    assert (listed.status_code, held.status_code, after.status_code) == (200, 200, 200)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def chosen(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(arguments))


def test_certificates_and_keys_that_do_not_fit_are_named(authority, tmp_path):
    one, two = authority.sign("one"), authority.sign("two")
    encrypted, nothing = tmp_path / "encrypted.key", tmp_path / "nothing.pem"
    encrypted.write_bytes(private(authority._key, b"secret"))
    nothing.write_text("hello")
    for certificate, key, said in (
        (one.certificate, two.key, f"the key in {two.key} does not belong to the certificate in {one.certificate}"),
        (one.certificate, tmp_path / "no.key", "no.key cannot be read: No such file or directory"),
        (one.certificate, encrypted, f"the key in {encrypted} cannot be read: it is encrypted"),
        (nothing, one.key, f"{nothing} and {one.key} are not a certificate and its key in PEM"),
    ):
        with pytest.raises(OSError) as caught:
            Tls(certificate, key)
        assert said in str(caught.value)
    for ca in (nothing, one.key):
        with pytest.raises(OSError, match="has no certificates in PEM"):
            Tls(one.certificate, one.key, ca)
    assert Tls(one.certificate, one.key, authority.certificate)


def test_settings_of_tls_go_together(authority):
    pair = authority.sign("server")
    flags = "--tls-cert", str(pair.certificate), "--tls-key", str(pair.key)
    assert chosen(*flags).tls == Tls(pair.certificate, pair.key)
    assert chosen().tls is None
    for alone in (flags[:2], flags[2:], ("--tls-client-ca", str(authority.certificate))):
        with pytest.raises(SettingsError, match="both --tls-cert and --tls-key"):
            chosen(*alone)


def test_an_origin_is_no_pattern(monkeypatch):
    assert chosen("--cors-origin", "http://a:8000", "--cors-origin", "https://b").cors_origins == (
        "http://a:8000",
        "https://b",
    )
    for wrong in ("*", "ward.example", "https://ward.example/", "null"):
        with pytest.raises(SettingsError, match="--cors-origin: not allowed"):
            chosen("--cors-origin", wrong)
    monkeypatch.setenv("SHOWCAUSE_CORS_ORIGIN", "https://a https://b")
    assert chosen().cors_origins == ("https://a", "https://b")
    assert chosen("--cors-origin", "https://c").cors_origins == ("https://c",)


def test_an_address_that_others_can_reach_is_told_what_it_lacks(authority, tmp_path):
    pair = authority.sign("server")
    add_token(tmp_path / "tokens", "a", None, False)
    tls = {"tls": Tls(pair.certificate, pair.key)}
    tokens = {"access": Access(tmp_path / "tokens")}

    def told(host: str, **settings) -> str:
        return Settings(tmp_path, host=host, **settings).exposure()

    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert told(host) == ""
    for host in ("0.0.0.0", "::", "10.0.0.7", "ward.example"):
        assert "no TLS" in told(host)
        assert "no token" in told(host)
        assert told(host).startswith(f"others can reach {host}")
        assert "no token" not in told(host, **tokens)
        assert "no TLS" not in told(host, **tls)
        assert told(host, **tls, **tokens) == ""


def test_what_is_said_of_a_body_in_chunks_is_not_believed():
    """HTTP/1.1 goes by the chunks where both headers are there."""

    def expected(**headers: str) -> int:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return body_bytes(Request({"type": "http", "headers": raw}), Limits())

    assert expected(content_length="5") == 5
    assert expected(content_length="5", transfer_encoding="chunked") == expected() > Limits().image_bytes
