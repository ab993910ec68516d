"""The model versions that are served, and which of them a request means. Imports no torch."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from showcause.channels import Distilled, read_distilled
from showcause.errors import NotFound, out_of_range
from showcause.gateway.access import EVERYONE, Identity
from showcause.gateway.admission import QUEUE_SIZE, Admission
from showcause.gateway.batches import BATCHES_AHEAD
from showcause.gateway.costs import Costs
from showcause.manifest import Manifest


@dataclass(eq=False)
class Deployment:
    """One model version. key: as the engine calls it. workers: processes that there should be; answering: of them, now;
    pids: theirs. ready: whether all answer.
    """

    manifest: Manifest
    key: str
    workers: int
    admission: Admission
    distilled: Distilled
    costs: Costs = field(default_factory=Costs)
    answering: int = 0
    pids: set[int] = field(default_factory=set)
    ready: bool = True

    def see_workers(self, states: Mapping[int, bool]) -> int:
        """Takes note of whether each worker answers, by its process id; how many have taken the place of others."""
        self.answering = sum(states.values())
        self.ready = self.answering >= self.workers
        new = len(states.keys() - self.pids) if self.pids else 0
        self.pids = set(states) or self.pids  # while there are none, those of before are remembered
        return new


class Deployments:
    """By name and version. workers: processes a model, None for what its model.toml says. queue_size: most requests
    that wait for one of them.
    """

    def __init__(self, workers: int | None = None, queue_size: int = QUEUE_SIZE):
        self.workers, self.queue_size = workers, queue_size
        self._served: dict[str, dict[str, Deployment]] = {}
        self._default: dict[str, str] = {}

    def __iter__(self) -> Iterator[Deployment]:
        """All, by name, and each model's versions oldest first."""
        for name in self.names():
            for version in self.versions(name):
                yield self._served[name][version]

    def with_default(self) -> Iterator[tuple[Deployment, bool]]:
        """All, each with whether it answers where no version is named."""
        for deployment in self:
            name, version = deployment.manifest.name, deployment.manifest.version
            yield deployment, self._default[name] == version

    def names(self, identity: Identity = EVERYONE) -> list[str]:
        """The models that somebody may use: of others they learn nothing, errors included."""
        return [name for name in sorted(self._served) if identity.may(name)]

    def versions(self, name: str) -> list[str]:
        """Of one model, oldest first."""
        return sorted(self._served.get(name, ()), key=version_order)

    def default(self, name: str) -> Deployment:
        """What answers requests for a model that name no version."""
        return self._served[name][self._default[name]]

    def put(self, manifest: Manifest, key: str) -> Deployment | None:
        """Serves a model version from now on; what it takes the place of, if anything. A model's first version is its
        default. Raises ManifestError where what was distilled cannot be read.
        """
        workers = self.workers or manifest.serving.workers
        admission = Admission(BATCHES_AHEAD * workers * manifest.serving.batch_size, self.queue_size)
        made = Deployment(manifest, key, workers, admission, read_distilled(manifest))
        versions = self._served.setdefault(manifest.name, {})
        replaced = versions.get(manifest.version)
        versions[manifest.version] = made
        self._default.setdefault(manifest.name, manifest.version)
        return replaced

    def take(self, name: str, version: str = "") -> list[Deployment]:
        """Serves a model, or one version, no more; what they were. The newest version left becomes the default."""
        first = self.find(name, version)
        gone = [first] if version else [self.find(name, one) for one in self.versions(name)]
        for deployment in gone:
            del self._served[name][deployment.manifest.version]
        if not self._served[name]:
            del self._served[name], self._default[name]
        elif self._default[name] not in self._served[name]:
            self._default[name] = self.versions(name)[-1]
        return gone

    def set_default(self, name: str, version: str) -> None:
        self._default[name] = self.find(name, version).manifest.version

    def find(self, name: str, version: str, identity: Identity = EVERYONE) -> Deployment:
        """What a request means; raises NotFound, PermissionDenied, or InvalidArgument where a name is needed."""
        names = self.names(identity)
        allowed = ", ".join(names)
        if not name:
            if len(names) != 1:
                raise out_of_range("model", "", allowed)
            (name,) = names
        identity.check(name)
        if name not in self._served:
            raise NotFound("MODEL_NOT_FOUND", "no such model is served", field="model", value=name, allowed=allowed)
        found = self._served[name].get(version or self._default[name])
        if found is None:
            raise NotFound(
                "MODEL_NOT_FOUND",
                f"no such version of model {name} is served",
                field="version",
                value=version,
                allowed=", ".join(self.versions(name)),
            )
        return found


def version_order(version: str) -> list[tuple[int, int, str]]:
    """A key that puts 1.10 after 1.9: digits count as a number, all else as text, which comes before numbers."""
    pieces = re.findall(r"\d+|[^\d.]+", version)
    return [(1, int(piece), "") if piece.isdecimal() else (0, 0, piece) for piece in pieces]
