"""What the phases found, for people and for programs."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.soak.bench import Findings

Row = tuple[str, str, str, str]
HEADINGS = ("phase", "promise", "kept", "found")


def rows(found: Sequence[Findings]) -> list[Row]:
    """Every promise with what was found."""
    return [
        (each.phase, promise.text, "yes" if promise.kept else "NO", promise.found)
        for each in found
        for promise in each.promises
    ]


def load_rows(found: Sequence[Findings]) -> list[tuple[str, ...]]:
    """Every phase's load in numbers, seconds as milliseconds."""
    made = []
    for each in found:
        figures = each.figures
        if "accepted" in figures:
            made.append((each.phase, *_of_load(figures)))
        for step in figures.get("steps", ()):
            made.append((f"{step['callers']} callers", *_of_load(step)))
    return made


LOAD_HEADINGS = ("load", "sent", "answered/s", "p50 ms", "p90 ms", "p99 ms", "most ms", "generator's CPU", "not OK")


def _of_load(figures: dict[str, Any]) -> tuple[str, ...]:
    accepted = figures["accepted"]
    times = [_ms(accepted[name]) for name in ("p50", "p90", "p99", "most")]
    failed = ", ".join(f"{count} {bucket}" for bucket, count in figures["buckets"].items() if bucket != "OK")
    share = f"{100 * figures['cpu_share']:.0f}%"
    return (str(figures["started"]), f"{figures['throughput']:.1f}", *times, share, failed or "none")


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.0f}"


def markdown(found: Sequence[Findings], title: str) -> str:
    parts = [title]
    for headings, lines in ((LOAD_HEADINGS, load_rows(found)), (HEADINGS, rows(found))):
        parts += ["", _line(headings), _line(["---"] * len(headings)), *map(_line, lines)]
    return "\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write(found: Sequence[Findings], folder: Path, name: str, about: dict[str, Any]) -> None:
    """NAME.json and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    record = about | {"phases": [asdict(each) for each in found]}
    (folder / f"{name}.json").write_text(json.dumps(finite(record), indent=2) + "\n")
    title = f"# Soak, {about['setting']}\n\n{about['machine']}; showcause {about['showcause']}, seed {about['seed']}."
    (folder / f"{name}.md").write_text(markdown(found, title))


def finite(thing: Any) -> Any:
    """JSON has no nan: null."""
    if isinstance(thing, dict):
        return {key: finite(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [finite(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing
