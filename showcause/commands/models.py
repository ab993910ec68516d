"""``showcause models``: what a store holds or a service serves, one model in full, one more, one less."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from showcause import store
from showcause.commands import connection, models_add, models_admin, models_channels, models_import
from showcause.manifest import Manifest, ManifestError
from showcause.store import Entry, StoreError
from showcause.v1 import input_pb2, model_pb2

FIRST_LABELS = 12  # that `show` prints; --json has all


def add_flags(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (text, add_arguments, _) in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        add_arguments(action)


def run(options: argparse.Namespace) -> int:
    """0 on success, 1 where it was refused."""
    try:
        done: int = ACTIONS[options.action][2](options)
        return done
    except (StoreError, ManifestError) as error:
        print(f"showcause models {options.action}: {error}", file=sys.stderr)
        return 1


def _where_flags(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--address", metavar="HOST:PORT", help="ask the service there (gRPC) and not a folder")
    store.add_flag(where)
    connection.add_flags(parser)
    parser.add_argument("--json", action="store_true", help="JSON on stdout, and nothing else")


def _show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model, or of its folder")
    _where_flags(parser)


def _channels_flags(parser: argparse.ArgumentParser) -> None:
    _show_flags(parser)
    models_channels.add_flags(parser)


def _remove_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the model, or of its folder")
    store.add_flag(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _list(options: argparse.Namespace) -> int:
    if options.address:
        with connection.client(options) as client:
            served = client.models()
        found, as_json = [_of_service(model) for model in served], [_as_dict(model) for model in served]
    else:
        found = as_json = [_of_folder(entry) for entry in store.entries(options.model_store)]
    if options.json:
        print(json.dumps(as_json, indent=2))
        return 0
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "version", "network", "classes", "input", "methods", "weights", "description"):
        if heading != "weights" or not options.address:
            table.add_column(heading, no_wrap=heading in ("model", "network"), overflow="fold")
    for model in found:
        cells = [model["name"], *(model.get(key, "") for key in ("version", "network", "classes"))]
        cells += [_size(model), _first_method(model)]
        cells += [] if options.address else [_megabytes(model["weights_bytes"])]
        about = Text(model["problem"], "red") if model.get("problem") else Text(model["description"])
        table.add_row(*(Text(str(cell)) for cell in cells), about)
    console = _console(1000)
    console.print(table if found else f"{options.address or options.model_store} has no models", markup=False)
    return 0


def _show(options: argparse.Namespace) -> int:
    layers: Mapping[str, tuple[int, int, int]] = {}
    if options.address:
        with connection.client(options) as client:
            served = client.model(options.name)
        model, labels, card, as_json = _of_service(served), list(served.labels), served.card, _as_dict(served)
    else:
        entry = store.find(options.model_store, options.name)
        if entry.manifest is None:
            raise StoreError(entry.problem)
        model, labels, card = _of_folder(entry), list(entry.manifest.labels), entry.manifest.card
        layers, why_not = _layers(entry.manifest)
        model["problem"] = model["problem"] or entry.problem_of_weights() or why_not
        as_json = model | {"labels": labels, "layers": layers, "card": card}
    if options.json:
        print(json.dumps(as_json, indent=2))
        return 0
    console = _console()
    console.print(_facts(model, labels))
    console.print(Markdown(card))
    if layers:
        table = Table(title="layers, as --neuron names them", box=None)
        for heading in ("layer", "channels", "height", "width"):
            table.add_column(heading, justify="left" if heading == "layer" else "right")
        for name, shape in layers.items():
            table.add_row(Text(name), *map(str, shape))
        console.print(table)
    return 0


def _facts(model: Mapping[str, Any], labels: list[str]) -> Table:
    shown = {
        **model,
        "input": f"{_size(model)}, {model['input']['preprocessing']}",
        "methods": ", ".join(model["methods"]),
        "labels": ", ".join(labels[:FIRST_LABELS]) + (", ..." if len(labels) > FIRST_LABELS else ""),
    }
    if "weights_bytes" in shown:
        shown["weights"] = _megabytes(shown.pop("weights_bytes"))
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in shown.items():
        if value not in ("", {}):
            table.add_row(key.replace("_", " "), Text(str(value), "red" if key == "problem" else ""))
    return table


def _console(width: int = 200) -> Console:
    """width: of lines where there is no terminal; a table's lines are best left whole there."""
    return Console(width=None if sys.stdout.isatty() else width, emoji=False, highlight=False)


def _remove(options: argparse.Namespace) -> int:
    folder = store.find(options.model_store, options.name).folder
    store.check_removable(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = _megabytes(sum(path.lstat().st_size for path in files))
    if not options.yes:
        if not sys.stdin.isatty():
            raise StoreError(f"{folder} is kept: nobody can be asked here; --yes removes it")
        if input(f"remove {folder} ({len(files)} files, {size})? [y/N] ").strip().lower() not in ("y", "yes"):
            print("kept")
            return 1
    store.remove(folder)
    print(f"removed {folder} ({len(files)} files, {size})")
    return 0


def _of_folder(entry: Entry) -> dict[str, Any]:
    """What is known of a folder; of one that cannot be read, its name and why."""
    facts: dict[str, Any] = {"name": entry.name}
    if manifest := entry.manifest:
        spec = manifest.input
        facts |= {
            "version": manifest.version,
            "description": manifest.description,
            "network": manifest.network,
            "network_options": manifest.network_options,
            "classes": len(manifest.labels),
            "input": {
                "width": spec.width,
                "height": spec.height,
                "preprocessing": spec.preprocessing,
                "crop": spec.crop,
            },
            "probability": manifest.probability,
            "methods": list(manifest.methods),
            "weights_sha256": manifest.weights_sha256,
        }
    return facts | {"weights_bytes": entry.weights_bytes, "folder": str(entry.folder), "problem": entry.problem}


def _of_service(model: model_pb2.Model) -> dict[str, Any]:
    """The same of a served model, as far as the service tells."""
    preprocessing = input_pb2.Preprocessing.Name(model.preprocessing)
    kind = model_pb2.ProbabilityKind.Name(model.probability_kind)
    return {
        "name": model.name,
        "version": model.version,
        "description": model.description,
        "network": model.network,
        "classes": len(model.labels),
        "input": {
            "width": model.input_width,
            "height": model.input_height,
            "preprocessing": preprocessing.removeprefix("PREPROCESSING_").lower(),
        },
        "probability": kind.removeprefix("PROBABILITY_KIND_").lower(),
        "methods": [method.name for method in model.methods],
        "versions": ", ".join(model.versions),
        "cost": _cost(model),
        "weights_sha256": model.weights_sha256,
        "state": model_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower(),
    }


def _cost(model: model_pb2.Model) -> str:
    """What was measured while serving; "" before anything was."""
    steps = {"photo": model.cost_seconds, **{method.name: method.cost_seconds for method in model.methods}}
    return ", ".join(f"{name} {seconds * 1000:.3g} ms" for name, seconds in steps.items() if seconds)


def _as_dict(model: model_pb2.Model) -> dict[str, Any]:
    """The contract's own JSON."""
    return MessageToDict(model, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _layers(manifest: Manifest) -> tuple[Mapping[str, tuple[int, int, int]], str]:
    """(channels, height, width) of the network's layers, or why they cannot be told."""
    try:
        from showcause.model import layers_of
    except ModuleNotFoundError as error:
        return {}, f"layers cannot be shown: {error}; pip install 'showcause[server]'"
    try:
        return layers_of(manifest), ""
    except ManifestError as error:
        return {}, str(error)


def _size(model: Mapping[str, Any]) -> str:
    return f"{model['input']['width']}x{model['input']['height']}" if "input" in model else ""


def _first_method(model: Mapping[str, Any]) -> str:
    """The default, and how many others there are; `show` has them all."""
    first, *others = model.get("methods", ()) or ("",)
    return f"{first} and {len(others)} more" if others else str(first)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


# name -> what it does, its flags, the action
ACTIONS: dict[str, tuple[str, Any, Any]] = {
    "list": ("List the models of a store, or with --address those that a service serves.", _where_flags, _list),
    "show": ("Show one model in full: its card and, of a store's, the layers of its network.", _show_flags, _show),
    "channels": (models_channels.HELP, _channels_flags, models_channels.run),
    "add": (models_add.HELP, models_add.add_flags, models_add.run),
    "import": (models_import.HELP, models_import.add_flags, models_import.run),
    "remove": ("Delete a model's folder.", _remove_flags, _remove),
    "load": (
        "Load a folder into a running service, or read it anew, without a lost request.",
        models_admin.load_flags,
        models_admin.load,
    ),
    "unload": (
        "Take a model, or a version, out of a running service.",
        models_admin.unload_flags,
        models_admin.unload,
    ),
    "default": (
        "Choose the version that answers requests which name none.",
        models_admin.default_flags,
        models_admin.default,
    ),
}
