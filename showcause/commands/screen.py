"""What `showcause explain` shows while it works, and of each photo."""

import json
import os
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from showcause.image import SUFFIXES
from showcause.reply import ClassTarget, Explanation, Reply, Streamed

TABLES_UP_TO = 10  # photos; for more there is a progress bar and a summary
LINE_EVERY_SECONDS = 5.0  # progress where there is no terminal to draw a bar on


class Screen:
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

    def __enter__(self) -> "Screen":
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
            for explanation in done.reply.explanations:
                if explanation.parts:
                    self.console.print(_parts(explanation))
            for one in done.reply.agreements:
                pair = f"{one.method} and {one.other_method}"
                self.console.print(f"  {one.target}: rank correlation of {pair} {one.rank_correlation:+.2f}")
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


def _parts(explanation: Explanation) -> Table:
    """Numbered as in the pictures."""
    table = Table(title=f"parts for {explanation.target}")
    for heading in ("", "part", "filter", "of", "share", "logit"):
        table.add_column(heading, justify="left" if heading in ("part", "of") else "right")
    for number, part in enumerate(explanation.parts, start=1):
        facts = (part.name or "-", str(part.filter), part.category or "-")
        table.add_row(str(number), *facts, f"{part.share:+.1%}", f"{part.contribution:+.3f}")
    return table


def _reason(explanation: Explanation) -> str:
    kind = explanation.kind.replace("_", " ")
    facts = [kind]
    if explanation.residual is not None:
        facts.append(f"residual {explanation.residual.relative:.0e}")
    for score in explanation.test_scores:
        facts.append(f"{score.measure.replace('_', ' ')} {score.value:.2f}, control {score.control_value:.2f}")
    if explanation.box is not None:
        edges = (explanation.box.x_min, explanation.box.y_min, explanation.box.x_max, explanation.box.y_max)
        facts.append(f"box {', '.join(f'{edge:.0f}' for edge in edges)}")
    return f"{explanation.method} ({'; '.join(facts)})"
