"""What deploy/ has for Kubernetes builds and fits; and whatever would not fit is found."""

import copy
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))  # where the script finds its own modules
with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # model_archiver's, when it is imported
    from deploy_objects import at, of_kind, service_containers

    import deploy

pytestmark = pytest.mark.skipif(not deploy.builder(), reason="neither kubectl nor kustomize is here")
ALL = max((components for _, components in deploy.variants()), key=len, default=[])
Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def built() -> Objects:
    """The overlay cpu with all components that go together."""
    return deploy.build("overlays/cpu", ALL)


def one(objects: Objects, kind: str, name: str = "showcause") -> Any:
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


def pod(objects: Objects) -> Any:
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def container(objects: Objects) -> Any:
    ((_, found),) = service_containers(objects)
    return found


def set_variable(objects: Objects, name: str, value: str | None) -> None:
    others = [each for each in container(objects)["env"] if each["name"] != name]
    container(objects)["env"] = others + ([{"name": name, "value": value}] if value is not None else [])


def env(name: str, value: str | None) -> Callable[[Objects], None]:
    return lambda objects: set_variable(objects, name, value)


def put(kind: str, path: str, value: object) -> Callable[[Objects], None]:
    """Changes one field of the object of that kind; the path's last key is new or not."""

    def mutate(objects: Objects) -> None:
        *keys, last = path.split(".")
        tree = one(objects, kind)
        for key in keys:
            tree = tree[int(key)] if isinstance(tree, list) else tree[key]
        tree[int(last) if isinstance(tree, list) else last] = value

    return mutate


def in_pod(path: str, value: object) -> Callable[[Objects], None]:
    return put("Deployment", f"spec.template.spec.{path}", value)


def in_container(path: str, value: object) -> Callable[[Objects], None]:
    return in_pod(f"containers.0.{path}", value)


def without_mount(objects: Objects) -> None:
    mounts = container(objects)["volumeMounts"]
    container(objects)["volumeMounts"] = [each for each in mounts if each["mountPath"] != "/etc/showcause/tls"]


LABELS = {"app.kubernetes.io/name": "another"}
WRONG: dict[str, tuple[Callable[[Objects], None], list[str]]] = {
    "service selector": (put("Service", "spec.selector", LABELS), ["Service/showcause: spec.selector: selects no"]),
    "deployment selector": (put("Deployment", "spec.selector.matchLabels", LABELS), ["spec.selector.matchLabels"]),
    "disruption budget": (put("PodDisruptionBudget", "spec.selector", {}), ["PodDisruptionBudget/showcause"]),
    "network policy": (put("NetworkPolicy", "spec.podSelector.matchLabels", LABELS), ["NetworkPolicy/showcause"]),
    "service monitor": (put("ServiceMonitor", "spec.selector.matchLabels", LABELS), ["ServiceMonitor/showcause"]),
    "spread": (in_pod("topologySpreadConstraints.0.labelSelector.matchLabels", LABELS), ["Constraints[0]"]),
    "target port": (put("Service", "spec.ports.0.targetPort", "gprc"), ["no such container port; got 'gprc'"]),
    "policy port": (put("NetworkPolicy", "spec.ingress.0.ports.0.port", 50059), ["spec.ingress.ports", "50059"]),
    "monitored port": (put("ServiceMonitor", "spec.endpoints.0.port", "web"), ["no such Service port; got 'web'"]),
    "probe port": (in_container("readinessProbe.grpc.port", 50059), ["readinessProbe.grpc.port", "50059"]),
    "probe over TLS": (in_container("livenessProbe.grpc.port", 50051), ["plain text; got 50051; allowed: 50053"]),
    "probe's health": (in_container("livenessProbe.grpc.service", "alive"), ["no such health; got 'alive'"]),
    "no probe": (in_container("startupProbe", {}), ["startupProbe.grpc.port", "ends what still starts; got '30 s'"]),
    "impatient": (in_container("startupProbe.failureThreshold", 60), ["got '120 s'", "180 s"]),
    "no health port": (env("SHOWCAUSE_HEALTH_PORT", None), ["ports[health]", "startupProbe.grpc.port"]),
    "unknown setting": (env("SHOWCAUSE_GRACE", "30"), ["env[SHOWCAUSE_GRACE]: no such", "GRACE_SECONDS"]),
    "bad value": (env("SHOWCAUSE_GRPC_PORT", "tcp://10.0.0.1:50051"), ["not taken; got", "--grpc-port"]),
    "another port": (env("SHOWCAUSE_REST_PORT", "8081"), ["ports[rest].containerPort: the service listens elsewhere"]),
    "on loopback": (env("SHOWCAUSE_HOST", "127.0.0.1"), ["nobody could reach it"]),
    "unknown flag": (in_container("args", ["serve", "--gpuz", "1"]), ["unknown arguments: --gpuz"]),
    "service links": (in_pod("enableServiceLinks", True), ["enableServiceLinks"]),
    "short grace": (in_pod("terminationGracePeriodSeconds", 74), ["too short; got 74; allowed: 10 + 30 + 30 + 5 = 75"]),
    "long drain": (env("SHOWCAUSE_GRACE_SECONDS", "60"), ["10 + 60 + 30 + 5 = 105"]),
    "no pause": (in_container("lifecycle", {}), ["preStop.sleep.seconds"]),
    "no volume": (in_pod("volumes", [{"name": "tmp", "emptyDir": {}}]), ["volumeMounts[/models].name: no such volume"]),
    "two sources": (in_pod("volumes.0.hostPath", {"path": "/"}), ["not one source"]),
    "no mount": (without_mount, ["env[SHOWCAUSE_TLS_CERT]: lies in no volume", "volumes[tls]: mounted nowhere"]),
    "nowhere to write": (in_container("volumeMounts", []), ["the service could write nowhere"]),
    "root": (in_pod("securityContext.runAsNonRoot", False), ["may be root"]),
    "seccomp": (in_pod("securityContext.seccompProfile.type", "Unconfined"), ["got 'Unconfined'"]),
    "capability": (in_container("securityContext.capabilities", {"drop": []}), ["Context.capabilities: too much"]),
    "init container": (in_pod("initContainers.0.securityContext", {}), ["containers[models].securityContext.read"]),
    "token": (in_pod("automountServiceAccountToken", True), ["a token for Kubernetes"]),
    "no tag": (in_container("image", "registry.example:5000/showcause"), ["nobody could say what runs"]),
    "old tag": (in_container("image", "showcause:0.0.9-cuda"), ["another version; got '0.0.9-cuda'"]),
    "old label": (put("Deployment", "metadata.labels", {}), ["labels[app.kubernetes.io/version]"]),
    "autoscaler's target": (put("HorizontalPodAutoscaler", "spec.scaleTargetRef.name", "show"), ["no such Deployment"]),
    "autoscaler's series": (
        put("HorizontalPodAutoscaler", "spec.metrics.0.pods.metric.name", "showcause_queue"),
        ["no such series; got 'showcause_queue'"],
    ),
    "autoscaler's container": (
        put("HorizontalPodAutoscaler", "spec.metrics.1.containerResource.container", "gateway"),
        ["no such container; got 'gateway'"],
    ),
    "replicas beside an autoscaler": (put("Deployment", "spec.replicas", 3), ["spec.replicas: it would undo"]),
    "misspelt field": (in_container("readinessProb", {}), ["readinessProb", "Kubernetes 1.30, "]),
    "wrong type": (in_pod("terminationGracePeriodSeconds", "long"), ["terminationGracePeriodSeconds", "'long'"]),
    "no such kind": (put("Deployment", "apiVersion", "apps/v1beta1"), ["no such kind in apps/v1beta1"]),
}  # fmt: skip


@pytest.mark.parametrize(("mutate", "expected"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_found(built, mutate, expected):
    objects = copy.deepcopy(built)
    mutate(objects)
    found = "\n".join(deploy.problems(objects))
    for text in expected:
        assert text in found


@pytest.mark.parametrize("overlay", sorted({overlay for overlay, _ in deploy.variants()}))
def test_overlays_fit_with_all_components(overlay):  # `make check` builds the other choices
    objects = deploy.build(overlay, ALL)
    assert deploy.problems(objects) == []
    assert {each["kind"] for each in objects} > {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}


def test_a_model_that_is_not_shipped_is_found():
    objects = deploy.build("overlays/dev", [])
    container(objects)["args"] = ["serve", "animals-vit"]
    assert any("no such model in the image; got 'animals-vit'" in line for line in deploy.problems(objects))


def test_two_places_for_models_are_one_too_many():
    found = "\n".join(deploy.problems(deploy.build("overlays/cpu", list(deploy.MODELS))))
    assert "volumes[models]: not one source; got ['emptyDir', 'persistentVolumeClaim']" in found


def test_probes_need_no_tls_and_other_ports_have_it(built):
    ((_, served),) = service_containers(built)
    assert {at(served, f"{name}.grpc.port") for name in ("startupProbe", "readinessProbe", "livenessProbe")} == {50053}
    ports = one(built, "Service")["spec"]["ports"] + one(built, "Service", "showcause-headless")["spec"]["ports"]
    assert {port["appProtocol"] for port in ports} == {"https"}


def test_the_adapter_serves_what_the_autoscaler_asks_for(built):
    (rule,) = yaml.safe_load((ROOT / "deploy/components/autoscaling/prometheus-adapter.yaml").read_text())["rules"][
        "custom"
    ]
    asked = {at(metric, "pods.metric.name") for metric in one(built, "HorizontalPodAutoscaler")["spec"]["metrics"]}
    assert rule["name"]["as"] in asked
    assert rule["seriesQuery"].startswith(rule["name"]["as"] + "{")


def test_main_names_the_build_the_object_and_the_field(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    for folder in ("components", "monitoring", "overlays/dev", "overlays/gpu"):
        shutil.rmtree(tmp_path / "deploy" / folder)
    (tmp_path / "deploy/components").mkdir()
    monkeypatch.setattr(deploy, "DEPLOY", tmp_path / "deploy")
    deploy.main()
    assert "fit Kubernetes 1.30 to" in capsys.readouterr().out
    file = tmp_path / "deploy/base/deployment.yaml"
    file.write_text(file.read_text().replace("terminationGracePeriodSeconds: 80", "terminationGracePeriodSeconds: 30"))
    with pytest.raises(
        SystemExit, match=r"overlays/cpu: Deployment/showcause: terminationGracePeriodSeconds: too short"
    ):
        deploy.main()
    file.write_text(file.read_text() + "  - no: yaml")
    with pytest.raises(SystemExit, match="overlays/cpu cannot be built"):
        deploy.main()


def test_without_kubectl_it_says_that_nothing_was_checked(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    deploy.main()
    assert "not checked" in capsys.readouterr().out


def yaml_of_the_docs() -> dict[str, str]:
    """Each by the file that its first line names, or else by its number."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/kubernetes.md").read_text(), re.DOTALL)
    named = [(re.match(r"# (\S+\.yaml)$", block, re.M), textwrap.dedent(block)) for block in blocks]
    return {name[1] if name else str(number): block for number, (name, block) in enumerate(named)}


SHOWN = yaml_of_the_docs()
FILES = {"bcos/kustomization.yaml", "kustomization.yaml"}


def write_and_build(files: dict[str, str], folder: Path) -> Objects:
    """What kustomize makes of kustomization.yaml, with the others below it."""
    deploy_folder = os.path.relpath(ROOT / "deploy", folder.resolve())
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("../showcause/deploy", deploy_folder))
    return deploy.build(os.path.relpath(folder, deploy.DEPLOY), [])


@pytest.mark.parametrize("text", [SHOWN[name] for name in SHOWN if name not in FILES])
def test_what_the_docs_show_works(text, tmp_path):
    shown = yaml.safe_load(text)
    if shown["kind"] != "Kustomization":
        assert deploy.problems([shown]) == []
        return
    built = write_and_build({"kustomization.yaml": text}, tmp_path)
    assert deploy.problems(built) == []
    targets = [patch["target"] for patch in shown.get("patches", ()) if "target" in patch]
    kinds = {kind for target in targets for kind in target["kind"].split("|")}
    assert kinds <= {each["kind"] for each in built}, "a patch without its target does nothing, and says nothing"


def of_two_models() -> dict[str, str]:
    """The files that the docs show for two Deployments."""
    bcos = SHOWN["bcos/kustomization.yaml"]
    return {name: SHOWN[name] for name in FILES} | {"parts/kustomization.yaml": bcos.replace("bcos", "parts")}


def test_deployments_of_two_models_select_their_own_pods(tmp_path):
    built = write_and_build(of_two_models(), tmp_path)
    assert deploy.problems(built) == []
    served = {each["metadata"]["name"]: one["args"] for each, one in service_containers(built)}
    assert served == {"bcos-showcause": ["serve", "animals-bcos"], "parts-showcause": ["serve", "animals-parts"]}
    (policy,) = of_kind(built, "NetworkPolicy")
    clients = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert clients == {"showcause-client": "true"}, "nothing more is asked of clients"


def test_pods_that_two_deployments_select_are_found(tmp_path):
    without = {
        name: re.sub(r"labels:\n.*?(?=resources:)", "", text, flags=re.DOTALL) for name, text in of_two_models().items()
    }
    found = "\n".join(deploy.problems(write_and_build(without, tmp_path)))
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert re.search(f"{kind}/bcos-showcause: .*: selects pods of several Deployments", found)
