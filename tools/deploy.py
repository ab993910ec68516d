"""Builds what deploy/ has for Kubernetes, and checks it: by the schemas of several Kubernetes versions, and for what no
schema says. Asks no cluster. Without `kubectl` or `kustomize` it says so, and checks nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import deploy_checks
import deploy_service
import kubernetes_validate
import yaml
from deploy_objects import Object
from kubernetes_validate.utils import all_versions

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
OLDEST = (1, 30)  # the first that lets preStop sleep without being told so
MODELS = ("components/models-from-image", "components/models-from-volume")  # one of them at a time
CHECKS = (*deploy_checks.CHECKS, *deploy_service.CHECKS)


def builder() -> list[str]:
    """The command that builds a folder; empty where there is none."""
    for name, *rest in (("kubectl", "kustomize"), ("kustomize", "build")):
        if path := shutil.which(name):
            return [path, *rest]
    return []


def variants() -> Iterator[tuple[str, list[str]]]:
    """Every overlay with each choice of components that is tried: none, each, and all that go together."""
    folders = [*sorted((DEPLOY / "components").iterdir()), DEPLOY / "monitoring"]
    components = [str(each.relative_to(DEPLOY)) for each in folders if (each / "kustomization.yaml").exists()]
    others = [each for each in components if each not in MODELS]
    together = [[*others, models] for models in MODELS if models in components]
    for overlay in sorted(each.parent.name for each in (DEPLOY / "overlays").glob("*/kustomization.yaml")):
        for chosen in ([], *([each] for each in components), *together):
            yield f"overlays/{overlay}", chosen


def build(overlay: str, components: list[str]) -> list[Object]:
    """The objects of an overlay (a folder of deploy/) with components. Raises SystemExit with what kustomize says."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        here = {path: os.path.relpath(DEPLOY / path, folder) for path in (overlay, *components)}
        wanted = {"resources": [here[overlay]], "components": [here[path] for path in components]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
        done = subprocess.run([*builder(), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{title(overlay, components)} cannot be built: {done.stderr.strip()}")
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def title(overlay: str, components: list[str]) -> str:
    return " + ".join([overlay, *(Path(each).name for each in components)])


def kubernetes_versions() -> list[str]:
    """Those whose schemas are at hand, from the oldest that is supported on."""
    found = {tuple(int(piece) for piece in version.split(".")[:2]) for version in all_versions()}
    return [f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= OLDEST]


def problems(objects: list[Object]) -> list[str]:
    """Everything that is wrong with the objects of one build, one line each."""
    found = [line for each in objects for line in _schema_problems(json.dumps(each, sort_keys=True))]
    return found or [line for check in CHECKS for line in check(objects)]


@cache
def _schema_problems(text: str) -> tuple[str, ...]:
    """Of one object as JSON: builds have most of theirs in common. What others define has no schema here."""
    each = json.loads(text)
    name = f"{each['kind']}/{each['metadata']['name']}"
    found: dict[str, list[str]] = {}
    for version in kubernetes_versions():
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.absolute_path)) or "the whole"
            found.setdefault(f"{name}: {where}: {error.message}", []).append(version)
        except kubernetes_validate.utils.SchemaNotFoundError:
            group = each["apiVersion"].rpartition("/")[0]
            if "." not in group or group.endswith(".k8s.io"):
                found.setdefault(f"{name}: apiVersion: no such kind in {each['apiVersion']}", []).append(version)
    return tuple(f"{line} (Kubernetes {', '.join(versions)})" for line, versions in found.items())


def main() -> None:
    if not builder():
        print("deploy/: not checked: neither kubectl nor kustomize is here")
        return
    lines, count = [], 0
    for overlay, components in variants():
        objects = build(overlay, components)
        lines += [f"{title(overlay, components)}: {line}" for line in problems(objects)]
        count += 1
    if lines:
        sys.exit("\n".join(lines))
    supported = kubernetes_versions()
    print(f"deploy/: {count} builds fit Kubernetes {supported[0]} to {supported[-1]}, each other and the service")


if __name__ == "__main__":
    main()
