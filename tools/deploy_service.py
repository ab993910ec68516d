"""What schemas do not say of Kubernetes objects: whether they fit the service that they run.

Names of settings, ports and times are asked of its own code, so that a change there is noticed here.
"""

import argparse
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest.mock import patch

from deploy_objects import CONTAINER, Object, at, containers, deployments, environment, of_kind, pod_spec, problem
from deploy_objects import service_containers as served

from showcause import __version__
from showcause.engine.torchserve import START_SECONDS, STOP_SECONDS
from showcause.gateway.metrics import Metrics, of_deployments
from showcause.gateway.rpc import SERVICE_NAME
from showcause.gateway.settings import add_flags
from showcause.store import VARIABLE as MODEL_STORE
from showcause.store import entries

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
HEALTH_NAMES = ("", "live", SERVICE_NAME)
FILES = ("SHOWCAUSE_TLS_CERT", "SHOWCAUSE_TLS_KEY", "SHOWCAUSE_TLS_CLIENT_CA", "SHOWCAUSE_TOKENS", MODEL_STORE)
SPARE_SECONDS = 5  # of the grace period: for last replies, and the end of processes


def settings(objects: list[Object]) -> Iterator[str]:
    """Variables are settings of the service, with values that it takes; models that are named are there."""
    for deployment in deployments(objects):
        if (links := pod_spec(deployment).get("enableServiceLinks", True)) is not False:
            yield problem(deployment, "enableServiceLinks", "Services would set variables of ours", links, [False])
    for deployment, container in served(objects):
        variables = environment(container)
        for name in variables:
            if name.startswith("SHOWCAUSE_") and name not in _known():
                yield problem(deployment, f"env[{name}]", "no such setting", name, _known())
        options, refusal = _options(container)
        if refusal:
            yield problem(deployment, "args, env", "not taken", refusal, ["what `showcause serve --help` says"])
        elif MODEL_STORE not in variables:  # that of another store we cannot know
            shipped = {entry.name for entry in entries(options["model_store"])}
            for name in set(options["names"]) - shipped:
                yield problem(deployment, "args", "no such model in the image", name, sorted(shipped))


def addresses(objects: list[Object]) -> Iterator[str]:
    """The service listens where container ports say so, and for all."""
    for deployment, container in served(objects):
        options, _ = _options(container)
        if (host := options.get("host", "0.0.0.0")) not in ("0.0.0.0", "::"):
            yield problem(deployment, "env[SHOWCAUSE_HOST]", "nobody could reach it", host, ["0.0.0.0", "::"])
        for port in container.get("ports", ()):
            listens = options.get(f"{port['name']}_port")
            if options and port["containerPort"] != listens:
                field = f"ports[{port['name']}].containerPort"
                yield problem(deployment, field, "the service listens elsewhere", port["containerPort"], [listens])


def probes(objects: list[Object]) -> Iterator[str]:
    """Probes ask what the service answers, in plain text, on a port that is listed; and wait as long as its start may
    take.
    """
    for deployment, container in served(objects):
        options, _ = _options(container)
        listed = {port["containerPort"] for port in container.get("ports", ())}
        plain = {options.get("health_port")} | ({options.get("grpc_port")} if not options.get("tls_cert") else set())
        for name in PROBES:
            port, service = (at(container, f"{name}.grpc.{key}") for key in ("port", "service"))
            if port not in plain & listed:
                text = "no listed port where health is answered in plain text"
                yield problem(deployment, f"{name}.grpc.port", text, port, plain & listed)
            if (service or "") not in HEALTH_NAMES:
                yield problem(deployment, f"{name}.grpc.service", "no such health", service, map(repr, HEALTH_NAMES))
        start = container.get("startupProbe", {})
        patience = start.get("failureThreshold", 3) * start.get("periodSeconds", 10)
        if patience < START_SECONDS:
            allowed = [f"failureThreshold times periodSeconds of {START_SECONDS} s, which its own start may take"]
            yield problem(deployment, "startupProbe", "ends what still starts", f"{patience} s", allowed)


def grace_period(objects: list[Object]) -> Iterator[str]:
    """Time enough for preStop, for what was accepted, and for the end of TorchServe."""
    for deployment, container in served(objects):
        pause = at(container, "lifecycle.preStop.sleep.seconds") or 0
        if not pause:
            text = "requests would still come when it takes no more"
            yield problem(deployment, "lifecycle.preStop.sleep.seconds", text, pause, ["1 or more"])
        options, refusal = _options(container)
        given = pod_spec(deployment).get("terminationGracePeriodSeconds", 30)
        parts = (pause, 0 if refusal else options["grace_seconds"], STOP_SECONDS, SPARE_SECONDS)
        if given < sum(parts):
            least = f"{' + '.join(f'{part:g}' for part in parts)} = {sum(parts):g} or more"
            yield problem(deployment, "terminationGracePeriodSeconds", "too short", given, [least])


def files(objects: list[Object]) -> Iterator[str]:
    """Files that settings name lie in volumes, and there is one place to write to."""
    for deployment, container in served(objects):
        mounts = {each["mountPath"]: each for each in container.get("volumeMounts", ())}
        for name in FILES:
            file = environment(container).get(name)
            if file and not any(f"{file}/".startswith(f"{path}/") for path in mounts):
                yield problem(deployment, f"env[{name}]", "lies in no volume", file, mounts)
        if "/tmp" not in mounts or mounts["/tmp"].get("readOnly"):
            yield problem(deployment, "volumeMounts", "the service could write nowhere", list(mounts), ["/tmp"])


def versions(objects: list[Object]) -> Iterator[str]:
    """Images have tags, and the service's is this version's."""
    for deployment in deployments(objects):
        for container in containers(deployment):
            field = f"containers[{container['name']}].image"
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            if tag in ("", "latest"):
                yield problem(deployment, field, "nobody could say what runs", container["image"], ["NAME:TAG"])
            elif container["name"] == CONTAINER and tag.partition("-")[0] != __version__:
                yield problem(deployment, field, "another version", tag, [__version__, f"{__version__}-VARIANT"])
        label = deployment["metadata"].get("labels", {}).get("app.kubernetes.io/version")
        if label != __version__:
            yield problem(deployment, "labels[app.kubernetes.io/version]", "another version", label, [__version__])


def scaling(objects: list[Object]) -> Iterator[str]:
    """What an autoscaler asks of the pods is a series of the service."""
    series = {family.name for family in [*Metrics().registry.collect(), *of_deployments([])]}
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        for metric in each["spec"]["metrics"]:
            if (name := at(metric, "pods.metric.name")) not in (None, *series):
                yield problem(each, "spec.metrics.pods.metric.name", "no such series", name, sorted(series))


def _options(container: Object) -> tuple[dict[str, Any], str]:
    """What `showcause serve` makes of a container's arguments and variables: the settings, or why it refuses."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    with patch.dict(os.environ, environment(container), clear=True):
        add_flags(parser)
    try:
        options, rest = parser.parse_known_args(container.get("args", ["serve"])[1:])
    except argparse.ArgumentError as error:
        return {}, str(error)
    return vars(options), f"unknown arguments: {' '.join(rest)}" if rest else ""


@cache
def _known() -> list[str]:
    """The variables that ``showcause serve`` reads: its help names each."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return sorted(set(re.findall(r"SHOWCAUSE_\w+", parser.format_help())))


CHECKS = (settings, addresses, probes, grace_period, files, versions, scaling)
