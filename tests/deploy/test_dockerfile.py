"""What the Dockerfile promises, by reading it; test_image.py runs its steps."""

import argparse
import json
import re
import subprocess

import pytest

from showcause.gateway import settings
from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT

HEALTH_PORT = 50053
KINDS = ("cpu", "cuda")


def last(name: str, instruction: str) -> str:
    return [rest for stage in dockerfile.chain(name) for rest in stage.all(instruction)][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_what_was_installed_for_it_and_nothing_of_the_tools(kind):
    stage = dockerfile.stages()[kind]
    assert stage.all("COPY") == [f"--from=build-{kind} /opt/showcause /opt/showcause"]
    assert not stage.all("RUN")
    (step,) = dockerfile.stages()[f"build-{kind}"].all("RUN")
    assert f"deploy/image/install.sh {kind} /source /opt/showcause" in step


@pytest.mark.parametrize("kind", KINDS)
def test_who_runs_what(kind):
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last(kind, "USER"))
    assert json.loads(last(kind, "ENTRYPOINT")) == ["showcause"]
    assert json.loads(last(kind, "CMD")) == ["serve"]
    check = json.loads(last(kind, "HEALTHCHECK").split("CMD ")[1])
    assert check == ["showcause", "health", "--address", f"127.0.0.1:{HEALTH_PORT}"]


def test_ports_are_the_services_own_and_the_admin_rpc_is_not_among_them():
    default = settings.Settings
    ports = {default.grpc_port, default.rest_port, default.metrics_port, HEALTH_PORT}
    assert set(last("cpu", "EXPOSE").split()) == {str(port) for port in ports}
    assert dockerfile.environment("cpu")["SHOWCAUSE_HEALTH_PORT"] == str(HEALTH_PORT)


def test_its_environment_is_settings_that_exist(monkeypatch):
    given = {name: value for name, value in dockerfile.environment("cuda").items() if name.startswith("SHOWCAUSE_")}
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    known = set(re.findall(r"\[(SHOWCAUSE_\w+)", " ".join(parser.format_help().split())))
    assert given.keys() <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    parser.parse_args([])  # ends the test where a value is not allowed


def test_what_is_copied_is_in_the_repository_and_is_sent_to_the_build():
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    copied = {source for source, _ in dockerfile.copied("source")}
    for source in copied:
        assert (ROOT / source).exists(), source
        if (ROOT / ".git").exists():
            assert subprocess.run([*git, source], capture_output=True, check=True).stdout, f"git ignores {source}"
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert {next((each for each in sent if f"{source}/".startswith(f"{each}/")), source) for source in copied} == set(
        sent
    )


def test_no_registry_and_no_package_index_is_named():
    text = "".join((ROOT / name).read_text() for name in ("Dockerfile", "deploy/image/install.sh"))
    assert "://" not in text
    for stage in dockerfile.stages().values():
        assert "." not in stage.base.partition("/")[0].partition(":")[0], stage.base
