"""``showcause explain``: photos and whole folders over one stream, with progress, and resumable."""

import argparse
import errno
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from showcause.client import Client
from showcause.commands.journal import Journal, JournalError
from showcause.errors import ShowcauseError
from showcause.image import SUFFIXES
from showcause.reply import METHOD_KINDS, PICTURE_KINDS, ClassTarget, Difference, Explanation, Neuron, Reply, Streamed

TABLES_UP_TO = 10  # photos; for more there is a progress bar and a summary
LINE_EVERY_SECONDS = 5.0  # progress where there is no terminal to draw a bar on


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
    parser.add_argument("--picture", action="append", choices=PICTURE_KINDS, help="may be repeated (overlay, color)")
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
    wishes = {
        "model": options.model,
        "target": _targets(options),
        "top_k": options.top_k,
        "methods": options.method,
        "pictures": options.picture or ["overlay", "color"],
        "region": options.region,
        "map_dtype": "float32" if options.map else None,
    }
    try:
        journal = Journal(options.out, json.loads(json.dumps(wishes, default=str)), options.resume)
    except JournalError as error:
        return _refused(str(error))
    names, screen = list(photos), _Screen(options.json, len(photos), others)

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
            with Client(options.address, options.timeout) as client:
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


class _Screen:
    """What the user sees: tables for a few photos; for many a bar, their failures, and a summary."""

    def __init__(self, as_json: bool, total: int, others: int):
        self.as_json, self.total, self.others = as_json, total, others
        self.done = self.skipped = self.failed = 0
        self.classes = Counter[str]()
        self.many = total > TABLES_UP_TO
        self.console = Console(stderr=as_json or self.many, markup=False, emoji=False, highlight=False, soft_wrap=True)
        self.began = self.said = time.monotonic()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, console=self.console, disable=not (self.many and self.console.is_terminal))

    def __enter__(self) -> "_Screen":
        self.bar.start()
        self.task = self.bar.add_task("explaining", total=self.total)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def skip(self) -> None:
        """A photo that was done before."""
        self.skipped += 1
        self.bar.advance(self.task)

    def show(self, photo: Path, line: dict[str, object], done: Streamed) -> None:
        self.done += 1
        self.bar.advance(self.task)
        if self.as_json:
            print(json.dumps(line), flush=True)
        if "error" in line or done.reply is None:
            self.failed += 1
            if not self.as_json:
                self.console.print(f"{_printable(photo)}: {line['error']}", style="red")
            return
        self.classes[done.reply.predictions[0].label] += 1
        if not self.many and not self.as_json:
            self.console.print(_table(photo, done.reply))
            for path in line["files"]:  # type: ignore[attr-defined]
                self.console.print(f"  {_printable(path)}")
        now = time.monotonic()
        if self.many and not self.console.is_terminal and now - self.said > LINE_EVERY_SECONDS:
            self.said = now
            rate, behind = self.done / (now - self.began), self.done + self.skipped
            left = (self.total - behind) / rate
            self.console.print(f"{behind} of {self.total}, {rate:.1f} a second, about {left:.0f} s left")

    def end(self, stopped: str) -> None:
        if self.skipped:
            self.console.print(f"{self.skipped} of {self.total} were done before")
        if stopped:
            behind = self.done + self.skipped
            self.console.print(f"{behind} of {self.total} done; stopped: {stopped}", style="red")
            if self.total > 1:
                self.console.print("the same command with --resume goes on from here")
        elif self.many:
            seconds = time.monotonic() - self.began
            self.console.print(f"{self.done} photos, {self.failed} failed, {seconds:.0f} s")
            for label, count in self.classes.most_common(10):
                self.console.print(f"  {count:6} {label}")
        if self.others:
            self.console.print(f"{self.others} other files were left out; read are {', '.join(SUFFIXES)}")


def _printable(path: object) -> str:
    """A file name may hold bytes that are no text."""
    return os.fsencode(str(path)).decode(errors="replace")


def _table(photo: Path, reply: Reply) -> Table:
    table = Table(title=f"{_printable(photo.name)}: {reply.receipt['model']} {reply.receipt['version']}")
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("logit", justify="right")
    table.add_column("explained by")
    reasons = list(reply.explanations)
    for prediction in reply.predictions:
        own = [one for one in reasons if isinstance(one.target, ClassTarget) and one.target.index == prediction.index]
        row = (prediction.label, f"{prediction.probability:.3f}", f"{prediction.logit:+.2f}")
        table.add_row(*row, "\n".join(map(_reason, own)))
        reasons = [one for one in reasons if one not in own]
    for reason in reasons:  # neurons, differences, and classes that are not among the strongest
        score = f"{reason.residual.score:+.2f}" if reason.residual else ""
        table.add_row(str(reason.target), "", score, _reason(reason))
    return table


def _reason(explanation: Explanation) -> str:
    kind = explanation.kind.replace("_", " ")
    if explanation.residual is None:
        return f"{explanation.method} ({kind})"
    return f"{explanation.method} ({kind}, residual {explanation.residual.relative:.0e})"
