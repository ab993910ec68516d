"""The table of ``showcause train chip``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

EXPLANATION = """*R2*: share of the variance of the probabilities behind gates that the linear model explains, weighted
as in the regression (f h), on held-out photos behind held-out gates; *fitted*: on those it was fitted to. Below 0 the
weights say less than the mean: the paper's model has no intercept, and a large lambda shrinks it. *KKT*: the largest
violation of the optimality conditions, relative to max |b|. *not 0*: of the class's weights."""


def table(results: Mapping[str, Any]) -> str:
    """Markdown: a row for each layer, and for each class."""
    settings = results["settings"]
    penalty = f"{settings['penalty']:g}" + (" of its largest" if settings["relative"] else "")
    lines = [
        f"# CHIP: {results['model']}",
        "",
        f"lambda {penalty}, sigma2 {settings['sigma2'] or 'the number of channels'}, seed {settings['seed']}, "
        f"{results['seconds']:.0f} s",
        "",
        EXPLANATION,
        "",
        _row("layer", "channels", "gates", "passes", "not 0, mean", "R2, mean", "lowest", "fitted", "KKT, largest"),
        _row(*["---"] * 9),
    ]
    for layer in results["layers"]:
        fits = layer["fits"]
        held = [fit["r_squared"] for fit in fits]
        lines.append(
            _row(
                layer["layer"], layer["channels"], layer["gates"], layer["way"], f"{_mean(_of(fits, 'nonzero')):.1f}",
                _number(_mean(held)), _number(min((v for v in held if not math.isnan(v)), default=math.nan)),
                _number(_mean(_of(fits, "r_squared_fitted"))), f"{max(_of(fits, 'kkt')):.0e}",
            )
        )  # fmt: skip
    heads = [f"{layer['layer']}: {what}" for layer in results["layers"] for what in ("not 0", "R2", "KKT")]
    lines += ["", _row("class", *heads), _row(*["---"] * (1 + len(heads)))]
    for position, fit in enumerate(results["layers"][0]["fits"]):
        cells: list[object] = [fit["label"]]
        for layer in results["layers"]:
            mine = layer["fits"][position]
            cells += [mine["nonzero"], _number(mine["r_squared"]), f"{mine['kkt']:.0e}"]
        lines.append(_row(*cells))
    return "\n".join(lines) + "\n"


def _of(fits: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [float(fit[key]) for fit in fits]


def _mean(values: Sequence[float]) -> float:
    """Of those that are numbers."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
