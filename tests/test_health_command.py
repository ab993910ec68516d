"""``showcause health``: one line and an exit code, by a health service of gRPC's own."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from showcause.cli import main
from tests.certificates import Authority

STATUS = health_pb2.HealthCheckResponse


@pytest.fixture
def serve():
    """Starts a server that has a status for each name given; its port of 127.0.0.1."""
    started = []

    def start(credentials: grpc.ServerCredentials | None = None, **statuses: int) -> int:
        server = grpc.server(ThreadPoolExecutor(2))
        servicer = health.HealthServicer()
        for name, status in statuses.items():
            servicer.set("" if name == "whole" else name, status)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        add = server.add_insecure_port
        port = server.add_secure_port("127.0.0.1:0", credentials) if credentials else add("127.0.0.1:0")
        server.start()
        started.append(server)
        return port

    yield start
    for server in started:
        server.stop(0).wait()


@pytest.fixture
def ask(capsys):
    def ask(port: int, *arguments: str) -> tuple[int, str]:
        code = main(["health", "--address", f"127.0.0.1:{port}", *arguments])
        output = capsys.readouterr()
        assert not output.err
        assert output.out.count("\n") == 1
        return code, output.out.strip()

    return ask


def test_only_serving_is_0(serve, ask):
    port = serve(whole=STATUS.SERVING, one=STATUS.NOT_SERVING, two=STATUS.UNKNOWN)
    assert ask(port) == (0, "SERVING")
    assert ask(port, "--service", "one") == (1, "NOT_SERVING")
    assert ask(port, "--service", "two") == (1, "UNKNOWN")
    code, said = ask(port, "--service", "three")
    assert (code, said) == (1, f"unknown: 127.0.0.1:{port} serves nothing of the name 'three'")


def test_nobody_there(ask):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code, said = ask(port)
    assert code == 1
    assert said.startswith(f"unreachable: 127.0.0.1:{port}: UNAVAILABLE")


def test_somebody_who_does_not_answer(ask):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        code, said = ask(port, "--timeout", "0.5")
    assert (code, said) == (1, f"unreachable: 127.0.0.1:{port} did not answer within 0.5 s")


def test_over_tls(serve, ask, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.sign("server")
    files = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
    port = serve(grpc.ssl_server_credentials(files), whole=STATUS.SERVING)
    assert ask(port, "--ca", str(authority.certificate)) == (0, "SERVING")
    other = Authority(tmp_path, "other").certificate
    for arguments in ((), ("--ca", str(other))):
        code, said = ask(port, *arguments)
        assert code == 1
        assert said.startswith(f"unreachable: 127.0.0.1:{port}: UNAVAILABLE")


def test_a_file_that_cannot_be_used_is_named(capsys):
    assert main(["health", "--ca", "no-such-file"]) == 1
    assert "no-such-file cannot be read" in capsys.readouterr().err


def test_a_token_is_not_sent_and_not_asked_for(serve, ask, monkeypatch, capsys):
    """Not even one that lies around in the environment: it would be refused in plain text to another machine."""
    monkeypatch.setenv("SHOWCAUSE_TOKEN", "two\nlines, which no header carries")
    assert ask(serve(whole=STATUS.SERVING)) == (0, "SERVING")
    with pytest.raises(SystemExit) as caught:
        main(["health", "--token-file", "token"])
    assert caught.value.code == 2
    assert "unknown arguments" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "code"), [("['health']", 1), ("['models', 'list']", 0)])
def test_in_the_base_install_it_says_what_to_install_and_other_commands_go_on(command, code):
    """grpcio-health-checking comes with [server]."""
    program = (
        f"import sys; sys.modules['grpc_health'] = None; from showcause.cli import main; sys.exit(main({command}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("showcause[server]" in done.stderr) == (code == 1)
