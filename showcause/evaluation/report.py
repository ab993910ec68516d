"""The table and the JSON of ``showcause evaluate parts``, with the published figures beside ours."""

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

from showcause import __version__

# Zhang, Wu, Zhu (CVPR 2018), location instability on Animal-Part: ordinary, interpretable.
PUBLISHED: list[dict[str, Any]] = [
    {"network": "AlexNet", "task": "single-category, mean of 30", "ordinary": 0.146, "interpretable": 0.091},
    {"network": "VGG-16", "task": "single-category, mean of 30", "ordinary": 0.144, "interpretable": 0.085},
    {"network": "VGG-M", "task": "multi-category", "ordinary": 0.167, "interpretable": 0.096},
]
PACKAGES = ("torch", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    return {"showcause": __version__} | {name: importlib.metadata.version(name) for name in PACKAGES}


def without_nan(value: Any) -> Any:
    """JSON has no NaN: None stands for what could not be measured."""
    if isinstance(value, Mapping):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def table(results: Mapping[str, Any]) -> str:
    """Markdown: a row for each model and set of pictures, the published figures, and each category."""
    lines = [
        "# Filter parts",
        "",
        "Location instability, lower is better: standard deviation (N - 1) over the at most 100 pictures with the",
        "strongest activations, relative to the diagonal; mean over parts, then over the filters that are alive, each",
        "on the pictures of its own category. It says something only beside its controls: the same filters' places",
        "dealt out to the wrong pictures (shuffled), a filter that always fires at the centre, and random places.",
        "*tracking*: share of the filters that score below their own shuffled places. *frequent*: of filters that fire",
        "on at least half of the pictures; the others are counted as *rare*. *interpretability*: share of pictures on",
        "which a filter's region overlaps its best part by more than 0.2 (higher is better).",
        "",
        _row(
            "model", "kind", "pictures", "top-1", "mean logistic", "instability", "shuffled", "centre", "random",
            "tracking", "frequent", "frequent, shuffled", "interpretability", "filters alive", "dead", "rare",
        ),
        _row(*["---"] * 16),
    ]  # fmt: skip
    for model in results["models"]:
        for split, one in model["splits"].items():
            average, places = one["average"], one["average"]["stability"]
            lines.append(
                _row(
                    model["name"], model["kind"], f"{split} ({one['pictures']})", _share(one["top1"]),
                    _share(one["mean_logistic"]), *(_number(places[key]) for key in (
                        "instability", "shuffled", "fixed_center", "random")), _share(places["tracking"]),
                    _number(places["frequent_instability"]), _number(places["frequent_shuffled"]),
                    _number(average["interpretability"]), places["alive"], places["dead"], places["rare"],
                )
            )  # fmt: skip
    lines += ["", "## Published", "", _row("network", "task", "ordinary", "interpretable"), _row(*["---"] * 4)]
    lines += [_row(*(one[key] for key in ("network", "task", "ordinary", "interpretable"))) for one in PUBLISHED]
    lines += [
        "",
        "The authors' released code takes the 100 pictures from all annotated ones, those of training among them.",
    ]
    for model in results["models"]:
        for split, one in model["splits"].items():
            lines += ["", f"## {model['name']}, {split}, each category", ""]
            keys = ("instability", "shuffled", "fixed_center", "random", "tracking")
            lines += [_row("category", *keys, "interpretability", "alive", "dead", "rare"), _row(*["---"] * 10)]
            for name, measures in one["categories"].items():
                places = measures["stability"]
                figures = [*(_number(places[key]) for key in keys), _number(measures["interpretability"])]
                lines.append(_row(name, *figures, places["alive"], places["dead"], places["rare"]))
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1%}"
