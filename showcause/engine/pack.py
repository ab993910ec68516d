"""A model folder -> a TorchServe archive (.mar)."""

import logging
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import yaml
from model_archiver import ModelArchiver, ModelArchiverConfig

from showcause.engine.exported import exported
from showcause.manifest import Manifest, ManifestError
from showcause.paths import top_level

log = logging.getLogger(__name__)

FILES = ("model.toml", "weights.safetensors", "labels.txt", "CARD.md", "parts.json", "maps.json", "chip.safetensors")
# Milliseconds that TorchServe waits for a batch to fill. 1 gives natural batching: requests that came while the last
# batch was computed go together, and a lone one hardly waits. (0 would mean TorchServe's default of 100.)
BATCH_DELAY_MS = 1
_PACKING = threading.Lock()


def handler_of(manifest: Manifest) -> Path:
    """The handler for the model's kind of network: ``bcos_vgg`` is served by ``handlers/bcos.py``, and what the
    operator installed (``python:PACKAGE.MODULE:BUILDER``) as an ordinary network by ``handlers/plain.py``.
    """
    kind = "plain" if manifest.network.startswith("python:") else manifest.network.split("_")[0]
    handler = top_level("handlers") / f"{kind}.py"
    if not handler.exists():
        allowed = ", ".join(sorted(f"{path.stem}_*" for path in handler.parent.glob("*.py")))
        raise ManifestError(f"{manifest.folder}/model.toml: network is {manifest.network!r}; allowed: {allowed}")
    return handler


def pack(
    manifest: Manifest,
    out: Path,
    workers: int | None = None,
    name: str = "",
    runtime: str = "",
    batched: bool = False,
    say: Callable[[str], None] = log.info,
) -> Path:
    """Writes ``out/NAME.mar`` and returns its path; raises ManifestError where the weights are not those pinned, and
    where the network cannot be exported for the runtime.

    name: of the archive, and of the model in TorchServe; the model's own by default. runtime: instead of what its
    model.toml says. batched: whether requests come in batches already, as from our gateway; TorchServe forms them
    otherwise.
    """
    manifest.check_weights()
    count = workers or manifest.serving.workers
    settings = {
        "minWorkers": count,
        "maxWorkers": count,
        "batchSize": 1 if batched else manifest.serving.batch_size,
        "maxBatchDelay": BATCH_DELAY_MS,
        "responseTimeout": manifest.serving.response_timeout_seconds,
    }
    out.mkdir(parents=True, exist_ok=True)
    files = [str(path) for name in FILES if (path := manifest.folder / name).exists()]
    with tempfile.TemporaryDirectory() as folder:
        if (runtime or manifest.runtime) == "onnxruntime":
            files += map(str, exported(manifest, Path(folder) / "graphs", say))
        settings_path = Path(folder) / "model-config.yaml"
        settings_path.write_text(yaml.safe_dump(settings))
        config = ModelArchiverConfig(
            model_name=name or manifest.name,
            version=manifest.version,
            handler=str(handler_of(manifest)),
            extra_files=",".join(files),
            config_file=str(settings_path),
            export_path=str(out),
            archive_format="zip-store",  # weights do not compress
            force=True,
        )
        with _PACKING:
            # It makes a folder of the model's name in the temporary folder, and removes what has that name there.
            before, tempfile.tempdir = tempfile.tempdir, folder
            try:
                ModelArchiver.generate_model_archive(config)
            finally:
                tempfile.tempdir = before
    return out / f"{name or manifest.name}.mar"
