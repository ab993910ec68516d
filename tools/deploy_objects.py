"""Kubernetes objects as `kustomize` writes them, and how a problem of one is told."""

from collections.abc import Iterable, Iterator
from typing import Any

Object = dict[str, Any]
CONTAINER = "showcause"  # the service's, in each Deployment


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def deployments(objects: Iterable[Object]) -> list[Object]:
    return of_kind(objects, "Deployment")


def pod_spec(deployment: Object) -> Object:
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def containers(deployment: Object) -> list[Object]:
    """All, the init containers first."""
    spec = pod_spec(deployment)
    return [*spec.get("initContainers", ()), *spec["containers"]]


def service_containers(objects: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Each Deployment with the container that runs the service."""
    for deployment in deployments(objects):
        for container in pod_spec(deployment)["containers"]:
            if container["name"] == CONTAINER:
                yield deployment, container


def environment(container: Object) -> dict[str, str]:
    """Variables with values that stand there; one that comes from elsewhere, such as a Secret, counts as ""."""
    return {each["name"]: each.get("value", "") for each in container.get("env", ())}


def at(tree: Any, path: str) -> Any:
    """What lies at a path of keys, None where there is nothing."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def problem(each: Object, field: str, text: str, got: object, allowed: Iterable[object]) -> str:
    """One line: which object, which field, what is wrong, what stands there and what may."""
    name = f"{each['kind']}/{each['metadata']['name']}"
    return f"{name}: {field}: {text}; got {got!r}; allowed: {', '.join(map(str, allowed)) or 'nothing'}"
