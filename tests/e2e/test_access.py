"""Who gets in, at the real service: what listens where, and what each port says to strangers."""

import re
import ssl
import sys
import time
from pathlib import Path

import grpc
import httpx
import pytest

from showcause import Client
from showcause.cli import main
from showcause.errors import PermissionDenied, Unauthenticated, Unavailable
from showcause.gateway.access import add_token
from tests.certificates import Authority, Pair
from tests.processes import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ONE = "animals-bcos"
RAW = {"content-type": "image/jpeg"}
LISTEN = "0A"


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which a process or one below it listens."""
    inodes = set()
    for process in (pid, *children(pid)):
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                host, port = local.split(":")
                found.add((_dotted(host), int(port, 16)))
    return found


def _dotted(host: str) -> str:
    """The kernel's hexadecimal, of which each word is little-endian; IPv4 in IPv6 as IPv4."""
    words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
    mapped = b"".join(words[:-1]) in (b"", bytes(10) + b"\xff\xff")
    return ".".join(map(str, words[-1])) if mapped else b"".join(words).hex(":")


def refusal(port: int) -> str:
    """What one of TorchServe's ports says to who has no token; 404 is that of its metrics."""
    try:
        statuses = {
            httpx.get(f"http://127.0.0.1:{port}/{path}").status_code for path in ("ping", "models", "predictions")
        }
        return " ".join(map(str, statuses))
    except httpx.TransportError:
        pass  # it speaks gRPC
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in ("inference.InferenceAPIsService/Ping", "management.ManagementAPIsService/ListModels"):
            try:
                channel.unary_unary(f"/org.pytorch.serve.grpc.{method}")(b"", timeout=10)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    return error.code().name
            else:
                return "OK"
    return "nothing"


def port_of(address: str) -> int:
    return int(re.search(r":(\d+)$", address)[1])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[str, Pair]:
    """Certificates: the server's, a client's, and a stranger's."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = Authority(folder), Authority(folder, "stranger-authority")
    found = {"server": authority.sign("server"), "client": authority.sign("client")}
    return found | {"stranger": stranger.sign("stranger"), "ca": Pair(authority.certificate, authority.certificate)}


def test_what_listens_where(launch, shipped):
    """Three ports are where --host says; the admin's and TorchServe's five are on loopback whatever it says."""
    running = launch(ONE, "--model-store", str(shipped.parent), "--host", "127.0.0.2")
    assert running.grpc, running.output
    public = {port_of(address) for address in (running.grpc, running.rest, running.metrics)}
    found = listening(running.process.pid)
    assert {(host, port) for host, port in found if port in public} == {("127.0.0.2", port) for port in public}
    others = {(host, port) for host, port in found if port not in public}
    assert {host for host, _ in others} == {"127.0.0.1"}
    assert len(others) == 1 + 5, others
    assert ("127.0.0.1", port_of(running.admin)) in others
    # Nobody but the gateway has TorchServe's tokens: its ports for inference and management refuse over both protocols.
    refusals = [refusal(port) for _, port in others if port != port_of(running.admin)]
    assert sorted(refusals) == ["400", "400", "404", "PERMISSION_DENIED", "PERMISSION_DENIED"]
    assert running.stop() == 0


def test_tokens_at_every_port(launch, shipped, photo, tmp_path, capsys, monkeypatch):
    """Without TLS, as behind a proxy or in a mesh."""
    tokens = tmp_path / "tokens.toml"
    own, other = add_token(tokens, "own", [ONE], False), add_token(tokens, "other", ["animals-cnn"], False)
    prometheus = add_token(tokens, "prometheus", [], True)
    running = launch(ONE, "--model-store", str(shipped.parent), "--tokens", str(tokens))
    assert running.grpc, running.output

    for token, error in ((None, Unauthenticated), ("wrong", Unauthenticated), (other, PermissionDenied)):
        with Client(running.grpc, token=token) as client, pytest.raises(error):
            client.explain(photo, model=ONE)
    with Client(running.grpc, token=own) as client:
        assert client.explain(photo, model=ONE).predictions
        assert [done.error for done in client.explain_stream([photo], model=ONE)] == [None]

    url = f"{running.rest}/v1/models/{ONE}:predict"
    for headers, status in (({}, 401), (sent("wrong"), 401), (sent(other), 403), (sent(own), 200)):
        assert httpx.post(url, content=photo, headers=RAW | headers, timeout=30).status_code == status
    for headers, status in (({}, 401), (sent("wrong"), 401), (sent(own), 403), (sent(prometheus), 200)):
        assert httpx.get(f"{running.metrics}/metrics", headers=headers).status_code == status
    assert httpx.get(f"{running.rest}/readyz").status_code == 200

    # The command line, and a token that is withdrawn.
    file = tmp_path / "mine"
    file.write_text(own)
    listed = ["models", "list", "--address", running.grpc, "--token-file", str(file)]
    monkeypatch.delenv("SHOWCAUSE_TOKEN", raising=False)
    assert main(listed) == 0
    assert ONE in capsys.readouterr().out
    assert main(listed[:-2]) == 1
    assert "UNAUTHENTICATED" in capsys.readouterr().err
    kept = tokens.read_text()
    tokens.write_text(kept[kept.index("[other]") :])
    assert main(listed) == 1
    assert "the token is not known" in capsys.readouterr().err
    assert own not in running.output
    assert running.stop() == 0


def test_mutual_tls_at_every_port(launch, shipped, photo, pairs, tmp_path):
    tokens = tmp_path / "tokens.toml"
    token = add_token(tokens, "own", None, True)
    server, ca = pairs["server"], pairs["ca"].certificate
    flags = ("--tls-cert", str(server.certificate), "--tls-key", str(server.key), "--tls-client-ca", str(ca))
    running = launch(ONE, "--model-store", str(shipped.parent), "--tokens", str(tokens), *flags)
    assert running.grpc, running.output
    assert (running.rest[:8], running.metrics[:8]) == ("https://", "https://")

    def of(name: str | None) -> dict[str, object]:
        return {"certificate": pairs[name].certificate, "key": pairs[name].key} if name else {}

    with Client(running.grpc, token=token, ca=ca, **of("client")) as client:
        assert client.explain(photo, model=ONE).predictions
    with Client(running.grpc, ca=ca, **of("client")) as client, pytest.raises(Unauthenticated):
        client.models()
    for options in ({"ca": ca}, {"ca": ca, **of("stranger")}, of("client"), {}):
        began = time.monotonic()
        client = Client(running.grpc, timeout_seconds=10, token=token, **options)
        with client, pytest.raises(Unavailable):
            client.models()
        assert time.monotonic() - began < 9, "refused, and not waited for"

    def context(name: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=ca)
        if name:
            made.load_cert_chain(pairs[name].certificate, pairs[name].key)
        return made

    pages = (f"{running.rest}/v1/models", f"{running.rest}/healthz", f"{running.metrics}/metrics")
    for page in pages:
        assert httpx.get(page, headers=sent(token), verify=context("client")).status_code == 200
        for name in (None, "stranger"):
            with pytest.raises(httpx.TransportError):
                httpx.get(page, headers=sent(token), verify=context(name))
        with pytest.raises(httpx.TransportError):
            httpx.get(page.replace("https", "http"), headers=sent(token))
    assert httpx.get(pages[0], verify=context("client")).status_code == 401
    assert running.stop() == 0


def test_tls_without_a_client_s_certificate(launch, shipped, photo, pairs):
    server, ca = pairs["server"], pairs["ca"].certificate
    flags = ("--tls-cert", str(server.certificate), "--tls-key", str(server.key))
    running = launch(ONE, "--model-store", str(shipped.parent), *flags)
    with Client(running.grpc, ca=ca) as client:
        assert client.predict(photo).predictions
    with Client(running.grpc) as client, pytest.raises(Unavailable):
        client.models()
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tls-cert", "{server}.pem"), "TLS takes both --tls-cert and --tls-key"),
        (("--tls-cert", "{server}.pem", "--tls-key", "{client}.key"), "does not belong to the certificate"),
        (("--tls-cert", "{server}.pem", "--tls-key", "{server}.none"), "server.none cannot be read"),
        (("--tokens", "{server}.none"), "cannot be read"),
        (("--tokens", "{server}.pem"), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_starts(launch, shipped, pairs, flags, said):
    named = {name: str(pair.certificate.with_suffix("")) for name, pair in pairs.items()}
    running = launch(ONE, "--model-store", str(shipped.parent), *(flag.format(**named) for flag in flags))
    assert running.process.wait(60) == 1
    assert said in running.output
    assert "Traceback" not in running.output
    assert "starting TorchServe" not in running.output


def sent(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
