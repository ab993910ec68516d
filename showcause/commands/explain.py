"""``showcause explain``: photos and whole folders over one stream, with progress, and resumable."""

import argparse
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showcause.client.calls import method_message
from showcause.commands import connection
from showcause.commands.journal import Journal, JournalError
from showcause.commands.screen import Screen
from showcause.errors import ShowcauseError
from showcause.image import SUFFIXES
from showcause.reply import METHOD_KINDS, PICTURE_KINDS, SPECIAL_PICTURES, Difference, Neuron, Streamed
from showcause.v1 import method_pb2


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photos",
        nargs="+",
        type=Path,
        metavar="PHOTO",
        help="JPEG, PNG, WebP, GIF, BMP or TIFF of up to 32 MiB, or a folder of them (with those below it)",
    )
    parser.add_argument("--model", default="", help="default: the only one served")
    parser.add_argument(
        "--target", action="append", type=_class, help="class label or index; may be repeated (the strongest class)"
    )
    parser.add_argument("--versus", type=_class, metavar="CLASS", help="explain why the target, and not this class")
    parser.add_argument("--top-k", type=int, metavar="K", help="explain the K strongest classes")
    parser.add_argument(
        "--neuron", action="append", type=_neuron, metavar="LAYER[:CHANNEL][@ROW,COLUMN]",
        help="explain a unit inside the network (`showcause models show` lists its layers); what is left open is that "
        "of the strongest activation",
    )  # fmt: skip
    parser.add_argument("--method", action="append", choices=METHOD_KINDS, help="may be repeated (the model's first)")
    parser.add_argument("--layer", default="", metavar="NAME", help="for --method that reads a layer (its default)")
    parser.add_argument(
        "--box", nargs="?", type=float, const=True, default=False, metavar="THRESHOLD",
        help="the box around what is above this fraction of the map's maximum (what was best on val)",
    )  # fmt: skip
    parser.add_argument(
        "--picture", action="append", choices=PICTURE_KINDS,
        help="may be repeated (overlay, and color or tiles, whichever the method has)",
    )  # fmt: skip
    parser.add_argument("--region", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="in photo pixels")
    parser.add_argument("--map", action="store_true", help="keep the raw maps, too, as .npy")
    parser.add_argument("--out", type=Path, default=Path("explanations"), help="folder for what comes (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="leave out what is done in --out already")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo on stdout, and nothing else")


def run(options: argparse.Namespace) -> int:
    """0 if every photo is explained, 1 if not, 2 if nothing could be begun."""
    photos, others = named_photos(options.photos, options.out)
    if not photos:
        return _refused(f"no photos in {', '.join(map(str, options.photos))}; read are {', '.join(SUFFIXES)}")
    try:
        methods = _methods(options)
        pictures = options.picture or _usual_pictures(options)
    except (ShowcauseError, ValueError) as error:
        return _refused(str(error))
    wishes = {
        "model": options.model,
        "target": _targets(options),
        "top_k": options.top_k,
        "methods": methods,
        "box": options.box,
        "pictures": pictures,
        "region": options.region,
        "map_dtype": "float32" if options.map else None,
    }
    try:
        journal = Journal(options.out, json.loads(json.dumps(wishes, default=str)), options.resume)
    except JournalError as error:
        return _refused(str(error))
    names, screen = list(photos), Screen(options.json, len(photos), others)

    def todo() -> Iterator[tuple[str, Path]]:
        """By number: a name may be longer than an id."""
        for number, name in enumerate(names):
            if journal.has(name, photos[name]):
                screen.skip()
            else:
                yield str(number), photos[name]

    stopped, code = "", 0
    with journal, screen:
        try:
            with connection.client(options) as client:
                for done in client.explain_stream(todo(), **wishes):
                    name = names[int(done.id)]
                    screen.show(photos[name], _keep(done, name, photos[name], options.out, journal), done)
        except KeyboardInterrupt:
            stopped, code = "interrupted", 130
        except (ShowcauseError, JournalError) as error:
            stopped, code = str(error), 1
    screen.end(stopped)
    return code or (1 if screen.failed else 0)


def named_photos(given: list[Path], out: Path) -> tuple[dict[str, Path], int]:
    """Every photo by the name of its files in ``out``, and the number of other files in the folders.

    cat.jpg is cat, or cat-2 where cat is taken; below a folder, a photo's name is its path there, suffix included.
    Folders are walked to their depths, but not through links, and not into ``out``.
    """
    photos: dict[str, Path] = {}
    taken: Counter[str] = Counter()
    others, own = 0, out.resolve()

    def add(name: str, path: Path) -> None:
        free = name
        while free in photos:
            taken[name] += 1
            free = f"{name}-{taken[name] + 1}"
        photos[free] = path

    for path in given:
        if not path.is_dir():
            add(path.stem, path)
            continue
        for folder, folders, files in os.walk(path, onerror=_say_unreadable):
            folders[:] = sorted(each for each in folders if Path(folder, each).resolve() != own)
            for each in sorted(files):
                if Path(each).suffix.lower() in SUFFIXES:
                    add(Path(folder, each).relative_to(path).as_posix(), Path(folder, each))
                else:
                    others += 1
    return photos, others


def _say_unreadable(error: OSError) -> None:
    print(f"showcause explain: {error}", file=sys.stderr)


def _refused(text: str) -> int:
    print(f"showcause explain: {text}", file=sys.stderr)
    return 2


def _usual_pictures(options: argparse.Namespace) -> list[str]:
    """The overlay, and what else all of the methods can draw."""
    methods = options.method
    if not methods:
        with connection.client(options) as client:
            methods = [client.model(options.model).methods[0].name]
    return ["overlay", *(kind for kind, able in SPECIAL_PICTURES.items() if set(methods) <= set(able))]


def _methods(options: argparse.Namespace) -> list[method_pb2.Method] | None:
    """The methods asked for, those that read a layer with the layer asked for. Raises ValueError if none does."""
    methods = [method_message(name) for name in options.method or ()]
    parameters = [_parameters(method) for method in methods]
    readers = [one for one in parameters if "layer" in one.DESCRIPTOR.fields_by_name]
    if options.layer and not readers:
        able = [name for name in METHOD_KINDS if "layer" in _parameters(method_message(name)).DESCRIPTOR.fields_by_name]
        raise ValueError(
            f"--layer {options.layer} is for none of the methods; allowed: with --method {', '.join(able)}"
        )
    for one in readers:
        one.layer = options.layer
    return methods or None


def _parameters(method: method_pb2.Method) -> Any:
    """The message of the one method that is in it."""
    return getattr(method, method.WhichOneof("method") or "")


def _neuron(text: str) -> Neuron:
    try:
        return Neuron.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _targets(options: argparse.Namespace) -> list[int | str | Neuron | Difference]:
    classes, neurons = options.target or [], options.neuron or []
    if options.versus is None:
        return [*classes, *neurons]
    return [*(Difference(target, options.versus) for target in classes or (None,)), *neurons]


def _class(text: str) -> int | str:
    """Digits are an index, all else is a label."""
    return int(text) if text.isdecimal() else text


def _keep(done: Streamed, name: str, photo: Path, out: Path, journal: Journal) -> dict[str, object]:
    """Writes what came of one photo; its line of the journal."""
    line: dict[str, object] = {"name": name, "photo": str(photo)}
    if done.reply is None:
        line["error"] = str(done.error)
    else:
        try:
            line |= done.reply.as_dict() | {"files": [str(path) for path in done.reply.save(out, name)]}
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
                raise  # such as a disk that is full: the next photo would meet it, too
            line["error"] = f"its files cannot be written: {error}"
    journal.add(line)
    return line
