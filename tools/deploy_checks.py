"""What schemas do not say of Kubernetes objects: whether they fit each other, and how little their pods may.

Each check takes all objects of one build and yields a line for each problem.
"""

from collections.abc import Iterator

from deploy_objects import Object, at, containers, deployments, of_kind, pod_spec, problem

RESTRICTED = {  # the Pod Security Standard of that name, and a file system that nobody writes to
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

OF_ONE_DEPLOYMENT = ("Deployment", "PodDisruptionBudget", "Service")  # a NetworkPolicy may be for all


def selectors(objects: list[Object]) -> Iterator[str]:
    """What selects pods selects some, and of one Deployment where it should; and a ServiceMonitor a Service."""
    pods = [each["spec"]["template"]["metadata"].get("labels", {}) for each in deployments(objects)]
    services = [each["metadata"].get("labels", {}) for each in of_kind(objects, "Service")]
    selecting = [
        (each, f"spec.{field}", at(each["spec"], field), labels)
        for kind, field, labels in (
            ("Deployment", "selector.matchLabels", pods),
            ("PodDisruptionBudget", "selector.matchLabels", pods),
            ("NetworkPolicy", "podSelector.matchLabels", pods),
            ("Service", "selector", pods),
            ("ServiceMonitor", "selector.matchLabels", services),
        )
        for each in of_kind(objects, kind)
    ] + [
        (each, f"topologySpreadConstraints[{index}]", at(spread, "labelSelector.matchLabels"), pods)
        for each in deployments(objects)
        for index, spread in enumerate(pod_spec(each).get("topologySpreadConstraints", ()))
    ]
    for each, field, wanted, labelled in selecting:
        count = sum(wanted.items() <= labels.items() for labels in labelled) if wanted else 0
        if not count:
            yield problem(each, field, "selects nothing", wanted, labelled)
        elif count > 1 and each["kind"] in OF_ONE_DEPLOYMENT:
            yield problem(each, field, "selects pods of several Deployments", wanted, ["labels of one alone"])


def ports(objects: list[Object]) -> Iterator[str]:
    """Whatever names a port names one that there is."""
    listed = [port for each in deployments(objects) for one in containers(each) for port in one.get("ports", ())]
    known = {str(port.get(key)) for port in listed for key in ("name", "containerPort")}
    for each in of_kind(objects, "Service"):
        for port in each["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if str(target) not in known:
                field = f"spec.ports[{port['name']}].targetPort"
                yield problem(each, field, "no such container port", target, sorted(known))
    for each in of_kind(objects, "NetworkPolicy"):
        for way in ("ingress", "egress"):
            for port in [port for rule in each["spec"].get(way, ()) for port in rule.get("ports", ())]:
                if str(port["port"]) not in known:
                    yield problem(each, f"spec.{way}.ports", "no such container port", port["port"], sorted(known))
    offered = {port["name"] for each in of_kind(objects, "Service") for port in each["spec"]["ports"]}
    for each in of_kind(objects, "ServiceMonitor"):
        for endpoint in each["spec"]["endpoints"]:
            if (name := endpoint.get("port")) not in offered:
                yield problem(each, "spec.endpoints.port", "no such Service port", name, sorted(offered))


def volumes(objects: list[Object]) -> Iterator[str]:
    """Every mount has its volume, and every volume one source and a mount."""
    for each in deployments(objects):
        listed = pod_spec(each).get("volumes", ())
        sources = {volume["name"]: sorted(set(volume) - {"name"}) for volume in listed}
        for name, found in sources.items():
            if len(found) != 1:
                allowed = ["one; of the components that bring models take one"]
                yield problem(each, f"volumes[{name}]", "not one source", found, allowed)
        mounts = [(one["name"], mount) for one in containers(each) for mount in one.get("volumeMounts", ())]
        for name, mount in mounts:
            if mount["name"] not in sources:
                field = f"containers[{name}].volumeMounts[{mount['mountPath']}].name"
                yield problem(each, field, "no such volume", mount["name"], sources)
        for name in sources.keys() - {mount["name"] for _, mount in mounts}:
            yield problem(each, f"volumes[{name}]", "mounted nowhere", name, [mount["name"] for _, mount in mounts])


def rights(objects: list[Object]) -> Iterator[str]:
    """Containers, the init ones too, have as few as they can, and the pod no token for Kubernetes."""
    for each in deployments(objects):
        spec = pod_spec(each)
        who = spec.get("securityContext", {})
        if (token := spec.get("automountServiceAccountToken", True)) is not False:
            yield problem(each, "automountServiceAccountToken", "a token for Kubernetes", token, [False])
        if not who.get("runAsNonRoot") or not who.get("runAsUser"):
            yield problem(each, "securityContext", "may be root", who, ["runAsNonRoot: true and runAsUser: a number"])
        if (profile := at(who, "seccompProfile.type")) != "RuntimeDefault":
            yield problem(each, "securityContext.seccompProfile.type", "too much", profile, ["RuntimeDefault"])
        for one in containers(each):
            for key, wanted in RESTRICTED.items():
                if (got := one.get("securityContext", {}).get(key)) != wanted:
                    field = f"containers[{one['name']}].securityContext.{key}"
                    yield problem(each, field, "too much", got, [wanted])


def scaling(objects: list[Object]) -> Iterator[str]:
    """An autoscaler has a Deployment, and it alone says how many pods there are."""
    targets = {each["metadata"]["name"]: each for each in deployments(objects)}
    for each in of_kind(objects, "HorizontalPodAutoscaler"):
        reference = each["spec"]["scaleTargetRef"]
        target = targets.get(reference["name"]) if reference["kind"] == "Deployment" else None
        if target is None:
            yield problem(each, "spec.scaleTargetRef", "no such Deployment", reference["name"], targets)
            continue
        if (replicas := target["spec"].get("replicas")) is not None:
            yield problem(
                target, "spec.replicas", "it would undo what the autoscaler did", replicas, ["none beside one"]
            )
        names = [one["name"] for one in pod_spec(target)["containers"]]
        for metric in each["spec"]["metrics"]:
            if (name := at(metric, "containerResource.container")) not in (None, *names):
                yield problem(each, "spec.metrics.containerResource.container", "no such container", name, names)


CHECKS = (selectors, ports, volumes, rights, scaling)
