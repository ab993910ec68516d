"""The command ``showcause``. Each subcommand imports what it needs when it runs: a client has no torch."""

import argparse
import io
import json
import logging
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from showcause import __version__
from showcause.errors import ShowcauseError
from showcause.paths import top_level


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand; 0 on success, 1 on failure, 2 for wrong arguments."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("showcause").setLevel(logging.INFO)
    parser = argparse.ArgumentParser(prog="showcause", description="Image classifiers that show cause.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add_arguments, _) in COMMANDS.items():
        # What follows `train NAME` is for the recipe, `--help` included.
        command = commands.add_parser(name, help=text, description=text, add_help=name != "train")
        add_arguments(command)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "train":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        return COMMANDS[options.command][2](options)
    except ShowcauseError as error:
        print(f"showcause: {error.code_name}: {error.message}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"showcause {options.command}: {error}; pip install 'showcause[server]'", file=sys.stderr)
    except OSError as error:
        print(f"showcause {options.command}: {error}", file=sys.stderr)
    return 1


def _client_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1:50051", help="gRPC address of the service (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="for each call (%(default)g)")


def _explain_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG, WebP, GIF, BMP or TIFF")
    parser.add_argument("--model", default="", help="default: the only one served")
    parser.add_argument("--target", action="append", help="class label or index; may be repeated (the strongest class)")
    parser.add_argument("--top-k", type=int, help="explain the k strongest classes")
    parser.add_argument("--method", action="append", help="may be repeated (the model's first method)")
    parser.add_argument("--picture", action="append", choices=("overlay", "heat_map", "color"), help="(overlay, color)")
    parser.add_argument("--region", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="in photo pixels")
    parser.add_argument("--out", type=Path, default=Path("explanations"), help="folder for pictures (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo on stdout, and nothing else")
    _client_flags(parser)


def _explain(options: argparse.Namespace) -> int:
    from rich.console import Console

    from showcause.client import Client

    stems = _unique_stems(options.photos)
    console, failed = Console(stderr=options.json, emoji=False, highlight=False), 0
    targets = [int(target) if target.isdecimal() else target for target in options.target or ()]
    with Client(options.address, options.timeout) as client:
        for photo, stem in zip(options.photos, stems, strict=True):
            try:
                reply = client.explain(
                    photo,
                    model=options.model,
                    target=targets,
                    top_k=options.top_k,
                    methods=options.method,
                    pictures=options.picture or ("overlay", "color"),
                    region=options.region,
                    map_dtype=None,
                )
                written = reply.save(options.out, stem)
            except (ShowcauseError, OSError, ValueError) as error:
                failed += 1
                text = error.message if isinstance(error, ShowcauseError) else str(error)
                if options.json:
                    print(json.dumps({"photo": str(photo), "error": text}), flush=True)
                else:
                    console.print(f"{photo}: {text}", style="red", markup=False)
                continue
            if options.json:
                found = {"photo": str(photo), **reply.as_dict(), "files": [str(path) for path in written]}
                print(json.dumps(found), flush=True)
            else:
                _show(console, photo, reply, written)
    return 1 if failed else 0


def _unique_stems(photos: list[Path]) -> list[str]:
    """A name for each photo's files: a/cat.jpg and b/cat.jpg become cat and cat-2."""
    seen: dict[str, int] = {}
    stems = []
    for photo in photos:
        seen[photo.stem] = seen.get(photo.stem, 0) + 1
        stems.append(photo.stem if seen[photo.stem] == 1 else f"{photo.stem}-{seen[photo.stem]}")
    return stems


def _show(console, photo, reply, written) -> None:  # type: ignore[no-untyped-def]
    from rich.table import Table

    table = Table(title=f"{photo.name}: {reply.receipt['model']} {reply.receipt['version']}")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("logit", justify="right")
    table.add_column("explained by")
    reasons = {explanation.target.index: explanation for explanation in reply.explanations}
    for prediction in reply.predictions:
        reason = reasons.pop(prediction.index, None)
        row = (prediction.label, f"{prediction.probability:.3f}", f"{prediction.logit:+.2f}")
        table.add_row(*row, _reason(reason) if reason else "")
    for reason in reasons.values():  # targets that are not among the strongest classes
        table.add_row(
            reason.target.label, "", f"{reason.residual.score:+.2f}" if reason.residual else "", _reason(reason)
        )
    console.print(table)
    for path in written:
        console.print(f"  {path}", markup=False)


def _reason(explanation) -> str:  # type: ignore[no-untyped-def]
    kind = explanation.kind.replace("_", " ")
    if explanation.residual is None:
        return f"{explanation.method} ({kind})"
    return f"{explanation.method} ({kind}, residual {explanation.residual.relative:.0e})"


def _models_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="show this one, with its card")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    _client_flags(parser)


def _models(options: argparse.Namespace) -> int:
    from google.protobuf.json_format import MessageToDict
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from showcause.client import Client

    with Client(options.address, options.timeout) as client:
        models = [client.model(options.name)] if options.name else client.models()
    if options.json:
        print(
            json.dumps(
                [
                    MessageToDict(model, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
                    for model in models
                ],
                indent=2,
            )
        )
        return 0
    console, table = Console(), Table()
    for heading in ("model", "version", "network", "classes", "input", "methods", "description"):
        table.add_column(heading)
    for model in models:
        size, methods = f"{model.input_width}x{model.input_height}", ", ".join(m.name for m in model.methods)
        classes = str(len(model.labels))
        table.add_row(model.name, model.version, model.network, classes, size, methods, model.description)
    console.print(table)
    if options.name:
        console.print(Markdown(models[0].card))
    return 0


def _serve_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.gateway.settings import add_flags

    add_flags(parser)


def _serve(options: argparse.Namespace) -> int:
    from showcause.engine.java import JavaMissing
    from showcause.engine.torchserve import EngineFailed
    from showcause.gateway.server import serve
    from showcause.gateway.settings import from_flags
    from showcause.manifest import ManifestError

    try:
        serve(from_flags(options), lambda text: print(text, flush=True))
    except (EngineFailed, JavaMissing, ManifestError) as error:
        print(f"showcause serve: {error}", file=sys.stderr)
        return 1
    return 0


def _pack_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all of the store")
    parser.add_argument("--model-store", type=Path, default=top_level("model_store"), help="(%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for the .mar files (the model store)")


def _pack(options: argparse.Namespace) -> int:
    from showcause.engine.pack import pack
    from showcause.manifest import ManifestError, read_manifest, read_store

    try:
        store = options.model_store
        manifests = [read_manifest(store / name) for name in options.names] or read_store(store)
        for manifest in manifests:
            print(pack(manifest, options.out or store))
    except ManifestError as error:
        print(f"showcause pack: {error}", file=sys.stderr)
        return 1
    return 0


def _train_flags(parser: argparse.ArgumentParser) -> None:
    recipes = sorted(path.parent.name for path in top_level("model_store").glob("*/recipe.py"))
    parser.add_argument(
        "name", choices=recipes, help="model whose recipe is run; `train NAME --help` shows its options"
    )


def _train(options: argparse.Namespace) -> int:
    recipe = top_level("model_store") / options.name / "recipe.py"
    sys.argv = [f"showcause train {options.name}", *options.rest]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress shows at once in a log file, too
    runpy.run_path(str(recipe), run_name="__main__")
    return 0


COMMANDS = {
    "serve": ("Start TorchServe and the gateway; stop with Ctrl-C or SIGTERM.", _serve_flags, _serve),
    "explain": ("Ask a service for predictions and the reasons for them.", _explain_flags, _explain),
    "models": ("List what a service serves, or show one model's card.", _models_flags, _models),
    "pack": ("Make a TorchServe archive (.mar) from a model folder.", _pack_flags, _pack),
    "train": ("Run a model's recipe.", _train_flags, _train),
}

if __name__ == "__main__":
    sys.exit(main())
