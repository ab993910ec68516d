"""A model folder's ``model.toml``: what is known of a model without loading it. Imports no torch.

model_store/NAME/model.toml           this
model_store/NAME/weights.safetensors  float16 or float32, pinned by its digest
model_store/NAME/labels.txt           one class label a line
model_store/NAME/CARD.md              data, recipe, figures, limits
model_store/NAME/parts.json           names of an interpretable network's parts, where it has some: ``part_names.py``
model_store/NAME/chip.safetensors     the channels' distilled weights, where CHIP was: ``channels.py``
model_store/NAME/maps.json            how the methods' maps scored on the test split, where measured: ``map_scores.py``
"""

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from showcause.image import PREPROCESSINGS, InputSpec
from showcause.reply import METHOD_KINDS, PROBABILITY_KINDS

RUNTIMES = ("torch", "onnxruntime")
# What an archive that was packed for ONNX Runtime holds besides: see ``showcause.nets.onnx_passes``.
GRAPH, TRANSPOSE = "network.onnx", "transpose.onnx"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # as TorchServe names archives and models
# A network that the operator installed: see ``showcause.nets.installed``.
INSTALLED = re.compile(r"python:([A-Za-z_][A-Za-z0-9_.]*):([A-Za-z_][A-Za-z0-9_]*)")


class ManifestError(Exception):
    """A model folder that cannot be served; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Serving:
    """How the engine runs the model. workers: processes. batch_size: requests computed together, at most."""

    workers: int = 1
    batch_size: int = 16
    response_timeout_seconds: int = 120


@dataclass(frozen=True)
class Manifest:
    """See model.toml in any model folder for what the fields mean."""

    folder: Path
    name: str
    version: str
    description: str
    network: str
    probability: str
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    input: InputSpec
    weights_sha256: str
    manifest_sha256: str
    labels_sha256: str
    parts_sha256: str  # empty without a parts.json
    maps_sha256: str  # empty without a maps.json
    chip_sha256: str  # empty without a chip.safetensors
    network_options: dict[str, object] = field(default_factory=dict)
    serving: Serving = Serving()
    runtime: str = "torch"  # what serves it where passes need no gradient

    @property
    def weights_path(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def parts_path(self) -> Path:
        return self.folder / "parts.json"

    @property
    def maps_path(self) -> Path:
        return self.folder / "maps.json"

    @property
    def chip_path(self) -> Path:
        return self.folder / "chip.safetensors"

    def kind_of(self, method: str) -> str:
        """What the method's explanations of this model are: "inherent" or "post_hoc".

        Filter parts are a part of the computation only where the network's head is linear in them.
        """
        approximate = method == "filter_parts" and self.network_options.get("head") == "full"
        return "post_hoc" if approximate else METHOD_KINDS[method]

    def check_weights(self) -> None:
        """Raises ManifestError unless the weights are there and are those that model.toml pins."""
        if not self.weights_path.exists():
            raise ManifestError(f"{self.folder} has no weights.safetensors")
        digest = sha256_of(self.weights_path)
        if digest != self.weights_sha256:
            raise ManifestError(f"{self.weights_path} has SHA-256 {digest}, and model.toml wants {self.weights_sha256}")

    @property
    def card(self) -> str:
        path = self.folder / "CARD.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks a model folder; raises ManifestError. The weights' digest is checked when they are loaded."""
    path = folder / "model.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"{folder} is no model folder: it has no model.toml") from None
    except ValueError as error:  # of which TOML's and Unicode's are kinds
        raise ManifestError(f"{path} is not TOML: {error}") from error
    reader = _Reader(path, table)
    spec, serving = reader.table("input"), reader.table("serving", required=False)
    labels_path = folder / "labels.txt"
    if not labels_path.exists():
        raise ManifestError(f"{folder} has no labels.txt")
    labels = tuple(labels_path.read_text(encoding="utf-8-sig").splitlines())
    if len(set(labels)) != len(labels) or "" in labels or len(labels) < 2:
        raise ManifestError(f"{labels_path}: at least two labels, all different, none empty, one a line")
    return Manifest(
        folder=folder,
        name=reader.name("name"),
        version=reader.text("version"),
        description=reader.text("description"),
        network=reader.network("network"),
        probability=reader.one_of("probability", PROBABILITY_KINDS),
        methods=reader.list_of("methods", tuple(METHOD_KINDS)),
        labels=labels,
        input=InputSpec(
            spec.whole("width", 8, 4096),
            spec.whole("height", 8, 4096),
            spec.one_of("preprocessing", tuple(PREPROCESSINGS)),
            spec.share("crop", InputSpec.crop),
        ),
        weights_sha256=reader.text("weights_sha256"),
        manifest_sha256=sha256_of(path),
        labels_sha256=sha256_of(labels_path),
        parts_sha256=_sha256_if_there(folder / "parts.json"),
        maps_sha256=_sha256_if_there(folder / "maps.json"),
        chip_sha256=_sha256_if_there(folder / "chip.safetensors"),
        runtime=reader.one_of("runtime", RUNTIMES, "torch"),
        network_options=reader.table("network_options", required=False).options(),
        serving=Serving(
            serving.whole("workers", 1, 64, Serving.workers),
            serving.whole("batch_size", 1, 256, Serving.batch_size),
            serving.whole("response_timeout_seconds", 1, 3600, Serving.response_timeout_seconds),
        ),
    )


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_if_there(path: Path) -> str:
    try:
        return sha256_of(path) if path.exists() else ""
    except OSError as error:  # a folder of that name, say
        raise ManifestError(f"{path} cannot be read: {error}") from error


def model_folders(store: Path) -> list[Path]:
    """The folders of a store, by name. Those that begin with a dot or an underscore are not of it."""
    return sorted(path for path in store.iterdir() if path.is_dir() and path.name[0] not in "._")


def read_store(store: Path) -> list[Manifest]:
    """All models of a store, by name; raises ManifestError for the first that is broken or if there is none."""
    folders = model_folders(store) if store.is_dir() else []
    manifests = [read_manifest(folder) for folder in folders if (folder / "model.toml").exists()]
    if not manifests:
        raise ManifestError(f"{store} holds no model: a model is a folder with a model.toml")
    names = [manifest.name for manifest in manifests]
    if len(set(names)) != len(names):
        raise ManifestError(f"{store}: two models have the same name: {sorted(names)}")
    return manifests


class _Reader:
    """Typed access to one TOML table, with errors that name the key."""

    def __init__(self, path: Path, values: dict[str, object], prefix: str = ""):
        self.path, self.values, self.prefix = path, values, prefix

    def wrong(self, key: str, allowed: str) -> ManifestError:
        found = repr(self.values[key]) if key in self.values else "nothing"
        return ManifestError(f"{self.path}: {self.prefix}{key} is {found}; allowed: {allowed}")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text that is not empty")
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if not NAME.fullmatch(value):
            raise self.wrong(key, "letters, digits, '-', '_' and '.', a letter or digit first")
        return value

    def network(self, key: str) -> str:
        value = self.text(key)
        if value.startswith("python:") and not INSTALLED.fullmatch(value):
            raise self.wrong(key, "python:PACKAGE.MODULE:BUILDER")
        return value

    def options(self) -> dict[str, object]:
        """The whole table: numbers, texts, true, false, and lists of them."""
        for key, value in self.values.items():
            for one in value if isinstance(value, list) else [value]:
                items = one if isinstance(one, list) else [one]
                if not all(isinstance(item, str | int | float) and (isinstance(item, str) or math.isfinite(item))
                           for item in items):  # fmt: skip
                    raise self.wrong(key, "a finite number, a text, true, false, or a list of them")
        return dict(self.values)

    def one_of(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value not in allowed:
            raise self.wrong(key, "one of " + ", ".join(allowed))
        return str(value)

    def list_of(self, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(item in allowed for item in value):
            raise self.wrong(key, "a list of one or more of " + ", ".join(allowed))
        return tuple(value)

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return value

    def share(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1:
            raise self.wrong(key, "a number above 0, up to 1")
        return float(value)

    def table(self, key: str, required: bool = True) -> "_Reader":
        value = self.values.get(key, None if required else {})
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return _Reader(self.path, value, f"{key}.")
