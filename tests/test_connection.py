"""How clients connect: what stays on this machine, and a token that would be sent in plain text."""

import argparse
import asyncio

import pytest

from showcause import AsyncClient, Client
from showcause.cli import main
from showcause.client.connect import is_local, options
from showcause.commands import connection
from showcause.errors import InvalidArgument
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.0.1:1", True),
        ("localhost:50051", True),
        ("localhost", True),
        ("[::1]:50051", True),
        ("::1", True),
        ("unix:/run/showcause.sock", True),
        ("dns:///localhost:50051", True),
        ("dns:localhost:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv6:[::1]:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("10.0.0.1:50051", False),
        ("ward.example:50051", False),
        ("localhost.ward.example:50051", False),
        ("127.0.0.1.ward.example:50051", False),
        ("dns:///ward.example:50051", False),
        ("dns://127.0.0.1/ward.example:50051", False),
        ("[2001:db8::1]:50051", False),
        ("2001:db8::1", False),
        ("xds:///localhost", False),
    ],
)
def test_what_stays_on_this_machine(address, local):
    assert is_local(address) is local
    assert (("grpc.enable_http_proxy", 0) in options(address)) is local


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_goes_in_plain_text_to_nobody_else_unless_that_is_said(kind, tmp_path):
    async def made(address: str, **options: object) -> None:
        client = kind(address, **options)
        if closing := client.close():
            await closing

    with pytest.raises(InvalidArgument, match="token: it would go to ward") as caught:
        asyncio.run(made("ward.example:50051", token="secret-token"))
    assert "secret-token" not in caught.value.message
    assert "ca=FILE" in caught.value.allowed
    ca = Authority(tmp_path).certificate
    for way in ({"tls": False}, {"tls": True}, {"ca": ca}):
        asyncio.run(made("ward.example:50051", token="secret-token", **way))
    asyncio.run(made("127.0.0.1:50051", token="secret-token"))
    asyncio.run(made("ward.example:50051"))


def test_files_of_a_client_that_do_not_fit_are_named(tmp_path):
    authority = Authority(tmp_path)
    one, two = authority.sign("one"), authority.sign("two")
    with pytest.raises(InvalidArgument, match="key: a certificate needs its key"):
        Client(certificate=one.certificate)
    with pytest.raises(InvalidArgument, match="certificate: a key needs its certificate"):
        Client(key=one.key)
    with pytest.raises(OSError, match="does not belong to the certificate"):
        Client(certificate=one.certificate, key=two.key)
    with pytest.raises(OSError, match="no certificates in PEM"):
        Client(ca=one.key)
    with pytest.raises(OSError, match="no-such-file cannot be read"):
        Client(ca=tmp_path / "no-such-file")


@pytest.mark.parametrize("token", ["", " ", "two\nlines", "é"])
def test_what_no_header_carries_is_no_token(token):
    with pytest.raises(InvalidArgument, match="token: no token"):
        Client(token=token)


def test_the_command_line_s_words_for_the_same(tmp_path, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr(connection, "Client", lambda *args, **options: given.update(options, address=args[0]))
    for name in ("SHOWCAUSE_TOKEN", "SHOWCAUSE_TOKEN_FILE", "SHOWCAUSE_CA", "SHOWCAUSE_CERT", "SHOWCAUSE_KEY"):
        monkeypatch.delenv(name, raising=False)

    def asked(*arguments: str) -> dict:
        parser = argparse.ArgumentParser()
        parser.add_argument("--address", default="there:1")
        connection.add_flags(parser)
        connection.client(parser.parse_args(arguments))
        return given

    assert asked() == {"address": "there:1", "token": None, "ca": None, "certificate": None, "key": None, "tls": None}
    token = tmp_path / "token"
    token.write_text("of-the-file\n")
    assert asked("--token-file", str(token))["token"] == "of-the-file"
    monkeypatch.setenv("SHOWCAUSE_TOKEN", "of-the-environment")
    assert asked()["token"] == "of-the-environment"
    assert asked("--token-file", str(token))["token"] == "of-the-file"
    monkeypatch.setenv("SHOWCAUSE_CA", "/a.pem")
    assert str(asked()["ca"]) == "/a.pem"
    assert asked("--no-tls")["tls"] is False
    monkeypatch.undo()
    monkeypatch.setenv("SHOWCAUSE_TOKEN", "of-the-environment")
    assert main(["models", "list", "--address", "ward.example:1"]) == 1
    assert "it would go to ward.example:1 in plain text" in capsys.readouterr().err
