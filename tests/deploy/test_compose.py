"""compose.yaml: by the compose specification, and that it fits the image and the files that it mounts."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from showcause.gateway.settings import Settings
from tests.deploy import dockerfile

DEPLOY = dockerfile.ROOT / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
# The lines that a user takes in by removing the '# ', and not the prose.
OPTIONAL = re.compile(r"^( *)# ( *(?:[a-z_]+:|[A-Z_]+:|- \./).*)$", re.MULTILINE)


def service(name: str) -> dict:
    return yaml.safe_load(TEXT)["services"][name]


def mounts(name: str) -> dict[str, Path]:
    """The files of this repository that a container sees, by their paths in it."""
    given = [volume.split(":") for volume in service(name)["volumes"]]
    assert all(mode == ["ro"] for source, _, *mode in given if source.startswith("."))
    return {target: (DEPLOY / source).resolve() for source, target, *_ in given if source.startswith(".")}


@pytest.mark.parametrize("text", [TEXT, OPTIONAL.sub(r"\1\2", TEXT)], ids=["as it is", "with all options"])
def test_it_is_a_compose_file(text):
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert set(PyCompose.from_yaml(filled).service_names()) == {"showcause", "prometheus", "grafana"}


def test_options_that_are_commented_out_are_the_services_own():
    optional = yaml.safe_load(OPTIONAL.sub(r"\1\2", TEXT))
    added = optional["services"]["showcause"]
    assert added.keys() - service("showcause").keys() == {"environment", "secrets", "volumes", "command"}
    assert set(added["environment"]) == {"SHOWCAUSE_TLS_CERT", "SHOWCAUSE_TLS_KEY", "SHOWCAUSE_TOKENS"}
    assert set(added["secrets"]) == set(optional["secrets"])
    assert {f"/run/secrets/{name}" for name in added["secrets"]} == set(added["environment"].values())
    assert added["command"][-1] == added["volumes"][0].split(":")[1]


@pytest.mark.parametrize("name", ["showcause", "prometheus", "grafana"])
def test_each_container_is_bounded_and_for_this_machine_alone(name):
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["mem_limit"]
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert found.get("profiles") == (None if name == "showcause" else ["monitoring"])


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # model_archiver's, when it is imported
def test_the_service_fits_its_image():
    from showcause.engine.torchserve import STOP_SECONDS

    found = service("showcause")
    ports = {Settings.grpc_port, Settings.rest_port, Settings.metrics_port}
    assert set(found["ports"]) == {f"127.0.0.1:{port}:{port}" for port in ports}
    assert "healthcheck" not in found  # the image's own
    (tmp,) = found["tmpfs"]
    assert tmp.partition(":")[0] == dockerfile.environment("cpu")["HOME"]
    assert int(found["stop_grace_period"].removesuffix("s")) >= Settings.grace_seconds + STOP_SECONDS + 5


def test_prometheus_finds_the_service_and_its_rules(tmp_path):
    folder, config = "/etc/prometheus", mounts("prometheus")
    read = yaml.safe_load(config[f"{folder}/prometheus.yml"].read_text())
    assert [f"{folder}/{name}" in config for name in read["rule_files"]] == [True]
    (job,) = read["scrape_configs"]
    assert job["job_name"] == "showcause"  # what alerts and dashboard ask for
    assert job["static_configs"] == [{"targets": [f"showcause:{Settings.metrics_port}"]}]
    if not shutil.which("promtool"):
        pytest.skip("the rest needs promtool (Debian package prometheus)")
    for target, source in config.items():
        shutil.copy(source, tmp_path / Path(target).name)
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_grafana_finds_prometheus_and_the_dashboard():
    config, found = mounts("grafana"), service("grafana")
    assert all(source.is_file() for source in config.values())
    provisioning = "/etc/grafana/provisioning"
    (source,) = yaml.safe_load(config[f"{provisioning}/datasources/showcause.yml"].read_text())["datasources"]
    port = service("prometheus")["ports"][0].rpartition(":")[2]
    assert (source["type"], source["url"]) == ("prometheus", f"http://prometheus:{port}")
    (provider,) = yaml.safe_load(config[f"{provisioning}/dashboards/showcause.yml"].read_text())["providers"]
    home = found["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert str(Path(home).parent) == provider["options"]["path"]
    assert config[home] == DEPLOY / "monitoring/dashboard.json"
