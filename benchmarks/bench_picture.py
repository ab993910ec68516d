"""The picture of `make bench`: chosen ratios with the middle half of their rounds, beside what was aimed at."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

PICTURE = Path(__file__).parent / "bench.png"
# Row of the record -> what is written, the aim, and whether less is better.
CHOSEN: tuple[tuple[str, str, float, bool], ...] = (
    ("B-cos predict / ordinary predict, batch {}", "B-cos predict / ordinary predict", 1.25, True),
    ("B-cos explain / B-cos predict, batch {}", "W / B-cos predict", 2.1, True),
    ("B-cos explain / ordinary predict, batch {}", "W / ordinary predict", 2.6, True),
    ("B-cos explain, three targets / B-cos predict, batch {}", "three W / B-cos predict", 4.2, True),
    ("filter parts / predict, animals-parts from tensors, batch {}", "filter parts / predict", 1.05, True),
    ("chip / predict, animals-cnn, batch {}", "CHIP / predict", 1.05, True),
    ("cam / predict, animals-cnn, batch {}", "CAM / predict", 1.05, True),
    ("grad_cam / predict, animals-cnn, batch {}", "Grad-CAM / predict", 1.10, True),
    ("throughput served / bare: predict, {0} callers, batch up to {0}", "predictions: served / bare", 0.85, False),
    ("throughput served / bare: explain, {0} callers, batch up to {0}", "explanations: served / bare", 0.85, False),
)
SIZES = (1, 8)


def draw(ratios: Mapping[str, Mapping[str, float]], path: Path = PICTURE) -> None:
    """ratios: of the record, by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for line, (row, _, aim, less) in enumerate(reversed(CHOSEN)):
        for size, shift, color in zip(SIZES, (0.15, -0.15), ("#1f4e9c", "#c8102e"), strict=True):
            found = ratios.get(row.format(size))
            if found is None:
                continue
            spread = [[found["median"] - found["low"]], [found["high"] - found["median"]]]
            label = f"batch of {size}, or {size} callers" if line == 0 else None
            axes.errorbar(found["median"], line + shift, xerr=spread, fmt="o", color=color, markersize=5, label=label)
        sign = "<" if less else ">"
        axes.plot(
            aim, line, marker=sign, color="#444444", markersize=7, linestyle="", label="aim" if line == 0 else None
        )
    axes.set_yticks(range(len(CHOSEN)), [name for _, name, _, _ in reversed(CHOSEN)])
    axes.set_xlabel("ratio of times (served / bare: of throughputs), with the middle half of the rounds")
    axes.set_xlim(0, None)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, help="a file of benchmarks/results")
    draw(json.loads(parser.parse_args().record.read_text())["ratios"])


if __name__ == "__main__":
    main()
