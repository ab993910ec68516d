"""``showcause explain``: photos and whole folders over one stream, with progress, and resumable."""

import argparse
import json
import sys
import time
from collections import Counter
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
        "photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG, PNG, WebP, GIF, BMP or TIFF, or a folder of them"
    )
    parser.add_argument("--model", default="", help="default: the only one served")
    parser.add_argument("--target", action="append", help="class label or index; may be repeated (the strongest class)")
    parser.add_argument("--versus", metavar="CLASS", help="explain why the target, and not this class")
    parser.add_argument("--top-k", type=int, metavar="K", help="explain the K strongest classes")
    parser.add_argument(
        "--neuron", action="append", type=_neuron, metavar="LAYER[:CHANNEL][@ROW,COLUMN]",
        help="explain a unit inside the network; what is left open is that of the strongest activation",
    )  # fmt: skip
    parser.add_argument("--method", action="append", choices=METHOD_KINDS, help="may be repeated (the model's first)")
    parser.add_argument("--picture", action="append", choices=PICTURE_KINDS, help="may be repeated (overlay, color)")
    parser.add_argument("--region", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), help="in photo pixels")
    parser.add_argument("--map", action="store_true", help="keep the raw maps, too, as .npy")
    parser.add_argument("--out", type=Path, default=Path("explanations"), help="folder for what comes (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="leave out the photos that are done in --out already")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo on stdout, and nothing else")


def run(options: argparse.Namespace) -> int:
    """0 if every photo is explained, else 1."""
    photos = named_photos(options.photos)
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
        print(f"showcause explain: {error}", file=sys.stderr)
        return 2
    with journal:
        todo = [(name, path) for name, path in photos.items() if not journal.has(name, path)]
        screen = _Screen(options.json, len(photos), len(photos) - len(todo))
        try:
            with Client(options.address, options.timeout) as client, screen:
                for done in client.explain_stream(todo, **wishes):
                    screen.show(photos[done.id], _keep(done, photos[done.id], options.out, journal), done)
        except (ShowcauseError, KeyboardInterrupt) as error:
            stopped = error.message if isinstance(error, ShowcauseError) else "interrupted"
            screen.end(f"stopped: {stopped}")
            return 130 if isinstance(error, KeyboardInterrupt) else 1
    screen.end("")
    return 1 if screen.failed else 0


def named_photos(given: list[Path]) -> dict[str, Path]:
    """Every photo by the name of its files in --out: cat.jpg is cat, or cat-2 where cat is taken; below a folder, a
    photo's name is its path there, suffix included."""
    photos: dict[str, Path] = {}

    def add(name: str, path: Path) -> None:
        free, number = name, 1
        while free in photos:
            number += 1
            free = f"{name}-{number}"
        photos[free] = path

    for path in given:
        if path.is_dir():
            for found in sorted(path.rglob("*")):
                if found.suffix.lower() in SUFFIXES and found.is_file():
                    add(found.relative_to(path).as_posix(), found)
        else:
            add(path.stem, path)
    return photos


def _neuron(text: str) -> Neuron:
    try:
        return Neuron.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _targets(options: argparse.Namespace) -> list[int | str | Neuron | Difference]:
    classes: list[int | str] = [int(text) if text.isdecimal() else text for text in options.target or ()]
    versus = options.versus and (int(options.versus) if options.versus.isdecimal() else options.versus)
    neurons = options.neuron or []
    if options.versus is None:
        return [*classes, *neurons]
    return [*(Difference(target, versus) for target in classes or (None,)), *neurons]


def _keep(done: Streamed, photo: Path, out: Path, journal: Journal) -> dict[str, object]:
    """Writes what came of one photo; its line of the journal."""
    line: dict[str, object] = {"name": done.id, "photo": str(photo)}
    if done.reply is None:
        error = done.error
        line["error"] = error.message if isinstance(error, ShowcauseError) else str(error)
    else:
        line |= done.reply.as_dict() | {"files": [str(path) for path in done.reply.save(out, done.id)]}
    journal.add(line)
    return line


class _Screen:
    """What the user sees: tables for a few photos; for many a bar, their failures, and a summary."""

    def __init__(self, as_json: bool, total: int, skipped: int):
        self.as_json, self.total, self.done, self.skipped = as_json, total, skipped, skipped
        self.failed, self.classes = 0, Counter[str]()
        self.many = total > TABLES_UP_TO
        self.console = Console(stderr=as_json or self.many, emoji=False, highlight=False)
        self.began = self.said = time.monotonic()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns, console=self.console, disable=not (self.many and self.console.is_terminal))

    def __enter__(self) -> "_Screen":
        if self.skipped:
            self.console.print(f"resuming: {self.skipped} of {self.total} are done")
        self.bar.start()
        self.task = self.bar.add_task("explaining", total=self.total, completed=self.skipped)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, photo: Path, line: dict[str, object], done: Streamed) -> None:
        self.done += 1
        self.bar.advance(self.task)
        if self.as_json:
            print(json.dumps(line), flush=True)
        if done.reply is None:
            self.failed += 1
            if not self.as_json:
                self.console.print(f"{photo}: {line['error']}", style="red", markup=False, soft_wrap=True)
            return
        self.classes[done.reply.predictions[0].label] += 1
        if not self.many and not self.as_json:
            self.console.print(_table(photo, done.reply))
            for path in line["files"]:  # type: ignore[attr-defined]
                self.console.print(f"  {path}", markup=False)
        now = time.monotonic()
        if self.many and not self.console.is_terminal and now - self.said > LINE_EVERY_SECONDS:
            self.said = now
            rate = (self.done - self.skipped) / (now - self.began)
            left = (self.total - self.done) / rate
            self.console.print(f"{self.done} of {self.total}, {rate:.1f} a second, about {left:.0f} s left")

    def end(self, stopped: str) -> None:
        if stopped:
            self.console.print(
                f"{self.done} of {self.total} done; {stopped}", style="red", markup=False, soft_wrap=True
            )
            if self.total > 1:
                self.console.print("the same command with --resume goes on from here")
        elif self.many:
            seconds = time.monotonic() - self.began
            self.console.print(f"{self.done} photos, {self.failed} failed, {seconds:.0f} s")
            for label, count in self.classes.most_common(10):
                self.console.print(f"  {count:6} {label}", markup=False)


def _table(photo: Path, reply: Reply) -> Table:
    table = Table(title=f"{photo.name}: {reply.receipt['model']} {reply.receipt['version']}")
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
