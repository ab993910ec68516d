"""What a service in tests of the gateway serves, and what its engine answers."""

from collections.abc import Iterable

from showcause.engine.v1.envelope_pb2 import Envelope
from showcause.gateway.deployments import Deployments
from showcause.manifest import Manifest


def served(manifests: Iterable[Manifest], **options: int) -> Deployments:
    """Each under its own name in the engine."""
    deployments = Deployments(**options)
    for manifest in manifests:
        deployments.put(manifest, manifest.name)
    return deployments


def sealed(response: bytes, **cost_seconds: float) -> bytes:
    return Envelope(response=response, cost_seconds=cost_seconds).SerializeToString()


EMPTY = sealed(b"")
