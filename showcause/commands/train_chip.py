"""``showcause train chip``: a model of a store and photos -> distilled channel weights in the model's folder."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from showcause import render_channels, store
from showcause.channels import LayerWeights, channel_importance, read_distilled, write_distilled
from showcause.commands.devices import check_device
from showcause.evaluation.report import versions, without_nan
from showcause.manifest import Manifest, ManifestError, read_manifest, sha256_of
from showcause.model import Model, load
from showcause.store import StoreError
from showcause.train.chip import least_sigma2
from showcause.train.chip_report import table
from showcause.train.distill import CheckpointRefused, DistilledLayer, Settings, distill
from showcause.train.gated import NotGated
from showcause.train.labelled_photos import DataRefused, choose_classes, choose_photos, find_photos
from showcause.v1 import service_pb2
from showcause.wishes import near

METHODS = ("chip", "refined_chip", "guided_chip")
NAME = "chip"
GATES_LIMIT = 65536  # every pass runs behind each of them, and they lie in memory


class FlagRefused(Exception):
    """A flag whose value cannot be; the message names it and what is allowed."""


def run(arguments: Sequence[str]) -> int:
    """0 on success, 1 where it was refused."""
    options = _parser().parse_args(arguments)
    try:
        _distil(options)
    except (FlagRefused, StoreError, ManifestError, DataRefused, NotGated, CheckpointRefused) as error:
        print(f"showcause train chip: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    text = (
        "Distil which channels matter for each class (CHIP; Cui, Wang, Wang: arXiv 1902.02497), for the methods "
        f"{', '.join(METHODS)}. The weights are written into the model's folder; layers that it has already stay."
    )
    parser = argparse.ArgumentParser(prog="showcause train chip", description=text)
    parser.add_argument("--model", required=True, metavar="NAME", help="of the model, or of its folder")
    store.add_flag(parser)
    parser.add_argument("--layers", required=True, metavar="A,B", help="by name, as `showcause models show` lists them")
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR",
        help="folder with a folder of photos for each class, named as its label; or with crops.csv",
    )  # fmt: skip
    parser.add_argument("--classes", nargs="+", default=[], metavar="LABEL", help="default: all that DIR has photos of")
    parser.add_argument(
        "--images", type=_whole(1), default=Settings.images, metavar="N",
        help="photos of each class, at most; a fifth as many more are held out (%(default)d)",
    )  # fmt: skip
    parser.add_argument(
        "--gates",
        type=_whole(2, GATES_LIMIT),
        default=0,
        metavar="N",
        help="of each layer (four a channel, at most 1024)",
    )
    penalty = parser.add_mutually_exclusive_group()
    penalty.add_argument(
        "--lambda", dest="share", type=_number(0, 1), default=Settings.penalty, metavar="SHARE",
        help="sparsity, as a share of the lambda at which a class's weights are all 0 (%(default)g)",
    )  # fmt: skip
    penalty.add_argument(
        "--absolute-lambda", type=_number(0), metavar="VALUE", help="the lambda of Eq. 11 as it is, for all classes"
    )
    parser.add_argument(
        "--sigma2", type=_number(0), default=0.0, metavar="VALUE",
        help="of the gates' proximity exp(-|d - 1|^2 / sigma2) (0: the number of channels)",
    )  # fmt: skip
    parser.add_argument("--seed", type=_whole(0), default=0, help="of gates and of the choice of photos (%(default)d)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for checkpoint, report and pictures (runs/chip/NAME)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    return parser


def _distil(options: argparse.Namespace) -> None:
    began = time.monotonic()
    entry = store.find(options.model_store, options.model)
    if entry.manifest is None:
        raise StoreError(entry.problem)
    manifest = entry.manifest
    check_device(options.device, FlagRefused)
    model = load(manifest.folder, options.device, with_chip=False)
    layers = _layers(options.layers, model)
    _check_sigma2(options.sigma2, layers, model)
    found = find_photos(options.data, manifest.labels)
    classes = choose_classes(found, options.classes, manifest.labels)
    photos = choose_photos(found, classes, options.images, options.seed, manifest.labels)
    relative = options.absolute_lambda is None
    settings = Settings(
        images=options.images,
        gates=options.gates,
        penalty=options.share if relative else options.absolute_lambda,
        relative=relative,
        sigma2=options.sigma2,
        seed=options.seed,
    )
    out = options.out or Path("runs") / "chip" / manifest.name
    _say(
        f"{manifest.name}: {len(classes)} of {len(manifest.labels)} classes, {len(photos[0])} photos and "
        f"{len(photos[1])} held out, layers {', '.join(layers)}"
    )
    distilled = distill(model, layers, classes, photos, settings, out / "checkpoint.npz", _say)
    _install(manifest, distilled, model)
    _report(manifest, distilled, settings, time.monotonic() - began, out)


def _layers(text: str, model: Model) -> list[str]:
    """In the order in which they run. A grid of one place would be the same everywhere: no map."""
    asked = [name.strip() for name in text.split(",")]
    allowed = tuple(name for name, (_, height, width) in model.layers.items() if height * width > 1)
    for name in asked:
        if name not in allowed:
            wrong = "has a grid of one place" if name in model.layers else "is no layer of the network"
            raise FlagRefused(f"--layers: {name!r} {wrong}; allowed: {near(name, allowed)}")
    return [name for name in allowed if name in asked]


def _check_sigma2(value: float, layers: Sequence[str], model: Model) -> None:
    widest = max(layers, key=lambda name: model.layers[name][0])
    channels = model.layers[widest][0]
    if value and value < (least := least_sigma2(channels)):
        allowed = f"0 for the number of channels, or from {math.ceil(1000 * least) / 1000:g}"
        raise FlagRefused(
            f"--sigma2 {value:g}: proximity to {channels} channels ({widest}) vanishes; allowed: {allowed}"
        )


def _install(manifest: Manifest, distilled: Sequence[DistilledLayer], model: Model) -> None:
    """Writes the weights beside those that the folder has of other layers."""
    try:
        kept = dict(read_distilled(manifest))
    except ManifestError as error:
        _say(f"what was there is replaced: {error}")
        kept = {}
    every: dict[str, LayerWeights] = kept | {one.weights.layer: one.weights for one in distilled}
    write_distilled(manifest, [every[name] for name in model.layers if name in every])


def _report(
    manifest: Manifest, distilled: Sequence[DistilledLayer], settings: Settings, seconds: float, out: Path
) -> None:
    """What came out, as a table, as JSON and as pictures."""
    results = {
        **versions(),
        "model": manifest.name,
        "weights_sha256": manifest.weights_sha256,
        "chip_sha256": sha256_of(manifest.chip_path),
        "settings": asdict(settings),
        "seconds": seconds,
        "layers": [
            {"layer": one.weights.layer, "channels": one.weights.weights.shape[1], "gates": one.gates, "way": one.way,
             "fits": [asdict(fit) for fit in one.fits]}
            for one in distilled
        ],
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(without_nan(results), indent=2) + "\n", "utf-8")
    text = table(results)
    (out / "table.md").write_text(text, "utf-8")
    _say(text)
    fresh = read_manifest(manifest.folder)
    weights = read_distilled(fresh)
    for one in distilled:
        request = service_pb2.GetChannelImportanceRequest(layer=one.weights.layer)
        importance = channel_importance(request, fresh, weights)
        for kind, draw in (("channels", render_channels.bars), ("overlap", render_channels.matrix)):
            draw(importance).save(out / f"{one.weights.layer}-{kind}.png")
    _say(f"{seconds:.0f} s; report, pictures and checkpoint are in {out}")
    _say(f"written: {manifest.chip_path}, layers {', '.join(weights)}; a service reads it when it starts")
    if missing := [name for name in METHODS if name not in manifest.methods]:
        _say(
            f"to have requests answered with {', '.join(missing)}, add them to methods in {manifest.folder}/model.toml"
        )


def _say(text: str) -> None:
    print(text, flush=True)


def _whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            allowed = f"a whole number from {least}" + (f" to {most}" if math.isfinite(most) else "")
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {allowed}")
        return int(text)

    return read


def _number(least: float, most: float = math.inf) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)):
            allowed = f"a number from {least:g}" + (f" to {most:g}" if math.isfinite(most) else "")
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; {allowed}")
        return value

    return read
