"""Makes the README's pictures of scikit-image's `chelsea`: explanation, inside, parts and maps (.png in docs)."""

import argparse
import io
from pathlib import Path

import skimage.data
from PIL import Image, ImageDraw

from showcause.client.calls import explain_request
from showcause.model import Model, load
from showcause.paths import top_level
from showcause.reply import Difference, Explanation, Neuron
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain

HEIGHT_PX, GAP_PX, LINE_PX = 220, 8, 22
FOLDER = Path(__file__).parent


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    photo, buffer = Image.fromarray(skimage.data.chelsea()), io.BytesIO()
    photo.save(buffer, "PNG")
    model = load(top_level("model_store") / "animals-bcos")

    (cat,) = asked(model, buffer.getvalue(), ["cat"], ["overlay", "color"])
    strip(
        FOLDER / "explanation.png",
        [(photo, "the photo"), (panel(cat, "overlay"), "for and against 'cat'"), (panel(cat, "color"), "what it saw")],
    )
    inside = [Neuron("features.11"), Neuron("features.18"), Difference("cat", "dog")]
    reasons = asked(model, buffer.getvalue(), inside, ["overlay", "color"])
    strip(
        FOLDER / "inside.png",
        [(panel(reason, "color"), f"the strongest unit of its layer: {reason.target}") for reason in reasons[:2]]
        + [(panel(reasons[2], "overlay"), f"why {reasons[2].target}")],
    )
    (parts,) = asked(load(top_level("model_store") / "animals-parts"), buffer.getvalue(), ["cat"], ["overlay"])
    picture = parts.picture("overlay")
    (FOLDER / "parts.png").write_bytes(picture.png)
    print(f"parts.png: {picture.width} x {picture.height}, {len(picture.png) // 1024} KB")

    cnn = load(top_level("model_store") / "animals-cnn")
    shown = ["grad_cam", "chip", "gradient", "guided_backprop"]
    reasons = asked(cnn, buffer.getvalue(), ["cat"], ["overlay"], shown)
    strip(FOLDER / "maps.png", [(panel(reason, "overlay"), reason.method.replace("_", " ")) for reason in reasons])


def asked(
    model: Model, photo: bytes, targets: list, pictures: list[str], methods: list[str] | None = None
) -> tuple[Explanation, ...]:
    request = explain_request(photo, target=targets, pictures=pictures, methods=methods)
    (envelope,) = explain(model, [Call("explain", request.SerializeToString())])
    return read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope))).explanations


def panel(explanation: Explanation, kind: str) -> Image.Image:
    picture = Image.open(io.BytesIO(explanation.picture(kind).png)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def strip(path: Path, panels: list[tuple[Image.Image, str]]) -> None:
    """Writes the panels side by side, each with a line below it."""
    width = round(451 * HEIGHT_PX / 300)
    canvas = Image.new("RGB", (len(panels) * (width + GAP_PX) - GAP_PX, HEIGHT_PX + LINE_PX), "white")
    draw = ImageDraw.Draw(canvas)
    for position, (picture, line) in enumerate(panels):
        x = position * (width + GAP_PX)
        canvas.paste(picture.resize((width, HEIGHT_PX), Image.Resampling.LANCZOS), (x, 0))
        draw.text((x + 2, HEIGHT_PX + 4), line, fill="black", font_size=14)
    canvas.save(path, optimize=True)
    print(f"{path.name}: {canvas.width} x {canvas.height}, {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
