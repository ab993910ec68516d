"""The table of ``showcause evaluate maps``, with the published figures beside ours."""

from collections.abc import Mapping
from typing import Any

# Cui, Wang, Wang (arXiv 1902.02497), ILSVRC 2015 val, VGG-16: localisation error in %, top-1 and top-5.
PUBLISHED = {
    "Backprop": (61.11, 51.43),
    "c-MWP": (70.92, 63.01),
    "Grad-CAM": (56.47, 46.35),
    "CHIP": (51.45, 40.16),
}
KINDS = ("small", "medium", "large", "one object", "several objects")

ABOUT = """# Where maps point

Localisation error, lower is better: share of whole test photos on which the box around the largest piece of the map
above a threshold overlaps no object of the class by an IoU of more than 0.5. *known class*: the map of the photo's
class; *top-1*: a photo also counts as wrong where the network's strongest class is another. Thresholds, and the side of
the central box, were chosen on val. In brackets the 95% bootstrap interval. The controls know no class: a box in the
middle of the photo, and the mean of the last layer's channels. *pointing*: share of photos on which the map's maximum
lies in an object's box, and its mean over classes."""


def table(results: Mapping[str, Any]) -> str:
    """Markdown: for each model localisation, pointing, differences and the grid pointing game."""
    lines = [ABOUT]
    for model in results["models"]:
        lines += [
            "",
            f"## {model['name']} {model['version']}",
            "",
            f"{model['photos']} photos, top-1 accuracy {model['top_1_accuracy']:.1%}.",
            "",
            _row("method", "threshold", "known class", "top-1", *KINDS, "pointing", "mean over classes"),
            _row(*["---"] * (6 + len(KINDS))),
        ]
        order = sorted(model["localization"], key=lambda name: model["localization"][name]["known_class"]["value"])
        for name in order:
            one, pointing = model["localization"][name], model["pointing"][name]
            by_kind = [_share(one["by_kind"][kind]["value"]) if kind in one["by_kind"] else "-" for kind in KINDS]
            lines.append(
                _row(
                    name.replace("_", " "), f"{model['chosen_on_val'][name]['value']:.2f}",
                    _interval(one["known_class"]), _interval(one["top_1"]), *by_kind, _interval(pointing),
                    _share(pointing["class_average"]),
                )
            )  # fmt: skip
        counts = ", ".join(f"{kind} {count}" for kind, count in model["kinds"].items())
        lines += ["", f"Photos by the area of the largest object (below 20%, 50% or more) and by number: {counts}."]
        lines += ["", "Differences of known-class errors, photo by photo:", ""]
        lines += [_row("methods", "difference"), _row("---", "---")]
        lines += [_row(name.replace("_", " "), _interval(one, sign="+")) for name, one in model["differences"].items()]
        for size, game in model["grid_pointing"].items():
            lines += ["", f"Grid pointing game, {size}, {game['grids']} grids: share of the positive contribution in"]
            lines += [f"the class's own cell; a map that knows nothing gets {game['uninformed']:.3f}.", ""]
            lines += [_row("method", "share"), _row("---", "---")]
            scores = sorted(game["scores"].items(), key=lambda item: -item[1]["value"])
            lines += [_row(name.replace("_", " "), _interval(one, digits=3)) for name, one in scores]
    lines += ["", "## Published", "", "VGG-16, ILSVRC 2015 val (50,000 photos, 1,000 classes):", ""]
    lines += [_row("method", "top-1 error", "top-5 error"), _row(*["---"] * 3)]
    lines += [_row(name, f"{one:.2f}%", f"{five:.2f}%") for name, (one, five) in PUBLISHED.items()]
    return "\n".join(lines) + "\n"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _interval(one: Mapping[str, Any], digits: int = 0, sign: str = "") -> str:
    if one["value"] is None:
        return "-"
    if digits:
        return f"{one['value']:.{digits}f} [{one['low']:.{digits}f}, {one['high']:.{digits}f}]"
    return f"{one['value']:{sign}.1%} [{one['low']:{sign}.1%}, {one['high']:{sign}.1%}]"
