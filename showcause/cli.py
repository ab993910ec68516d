"""The command ``showcause``. Each subcommand imports what it needs when it runs: a client has no torch."""

import argparse
import io
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


def _explain_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import connection, explain

    explain.add_flags(parser)
    parser.add_argument("--address", default="127.0.0.1:50051", help="gRPC address of the service (%(default)s)")
    connection.add_flags(parser)


def _explain(options: argparse.Namespace) -> int:
    from showcause.commands import explain

    return explain.run(options)


def _models_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import models

    models.add_flags(parser)


def _models(options: argparse.Namespace) -> int:
    from showcause.commands import models

    return models.run(options)


def _serve_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.gateway.settings import add_flags

    add_flags(parser)


def _serve(options: argparse.Namespace) -> int:
    from showcause.engine.java import JavaMissing
    from showcause.engine.torchserve import EngineFailed
    from showcause.gateway import logs
    from showcause.gateway.server import serve
    from showcause.gateway.settings import SettingsError, from_flags
    from showcause.manifest import ManifestError

    logs.configure(options.log_format)
    try:
        settings = from_flags(options)
        serve(settings, logging.getLogger("showcause.serve").info)
    except SettingsError as error:
        print(f"showcause serve: {error}", file=sys.stderr)
        return 1
    except (EngineFailed, JavaMissing, ManifestError, OSError) as error:
        logging.getLogger("showcause.serve").error("%s", error)
        return 1
    return 0


def _health_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import health

    health.add_flags(parser)


def _health(options: argparse.Namespace) -> int:
    from showcause.commands import health

    return health.run(options)


def _token_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import token

    token.add_flags(parser)


def _token(options: argparse.Namespace) -> int:
    from showcause.commands import token

    return token.run(options)


def _pack_flags(parser: argparse.ArgumentParser) -> None:
    from showcause import store
    from showcause.manifest import RUNTIMES

    parser.add_argument("names", nargs="*", metavar="MODEL", help="default: all of the store")
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="",
        help="what runs the passes that need no gradient (default: what its model.toml says, torch if nothing); for "
        "onnxruntime the network is exported and checked against torch",
    )
    store.add_flag(parser)
    parser.add_argument("--out", type=Path, help="folder for the .mar files (the model store)")


def _pack(options: argparse.Namespace) -> int:
    from showcause.engine.pack import pack
    from showcause.manifest import ManifestError, read_manifest, read_store

    try:
        store = options.model_store
        manifests = [read_manifest(store / name) for name in options.names] or read_store(store)
        for manifest in manifests:
            print(
                pack(manifest, options.out or store, runtime=options.runtime, say=lambda text: print(text, flush=True))
            )
    except ManifestError as error:
        print(f"showcause pack: {error}", file=sys.stderr)
        return 1
    return 0


def _train_flags(parser: argparse.ArgumentParser) -> None:
    recipes = sorted(path.parent.name for path in top_level("model_store").glob("*/recipe.py"))
    parser.add_argument(
        "name",
        choices=[*recipes, "chip"],
        help="model whose recipe is run, or chip: which channels matter; `train NAME --help` shows its options",
    )


def _train(options: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress shows at once in a log file, too
    if options.name == "chip":
        from showcause.commands import train_chip

        return train_chip.run(options.rest)
    recipe = top_level("model_store") / options.name / "recipe.py"
    sys.argv = [f"showcause train {options.name}", *options.rest]
    runpy.run_path(str(recipe), run_name="__main__")
    return 0


def _evaluate_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import evaluate

    evaluate.add_flags(parser)


def _evaluate(options: argparse.Namespace) -> int:
    from showcause.commands import evaluate

    return evaluate.run(options)


def _verify_flags(parser: argparse.ArgumentParser) -> None:
    from showcause.commands import verify

    verify.add_flags(parser)


def _verify(options: argparse.Namespace) -> int:
    from showcause.commands import verify

    return verify.run(options)


COMMANDS = {
    "serve": ("Start TorchServe and the gateway; stop with Ctrl-C or SIGTERM.", _serve_flags, _serve),
    "explain": ("Ask a service for predictions and the reasons for them.", _explain_flags, _explain),
    "models": ("List, show, import and remove models.", _models_flags, _models),
    "health": ("Ask whether a service answers; exit code 0 if it does.", _health_flags, _health),
    "token": ("Make a token for somebody who may ask a service.", _token_flags, _token),
    "pack": ("Make a TorchServe archive (.mar) from a model folder.", _pack_flags, _pack),
    "train": ("Run a model's recipe, or distil which channels matter (chip).", _train_flags, _train),
    "evaluate": ("Measure what a model's filters stand for.", _evaluate_flags, _evaluate),
    "verify": ("Compute a reply again from its receipt, and say what differs.", _verify_flags, _verify),
}

if __name__ == "__main__":
    sys.exit(main())
