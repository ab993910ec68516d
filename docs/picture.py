"""Makes docs/explanation.png: photo, overlay and colour picture of scikit-image's `chelsea`, side by side."""

import argparse
import io
from pathlib import Path

import skimage.data
from PIL import Image

from showcause.client.calls import explain_request
from showcause.model import load
from showcause.paths import top_level
from showcause.v1 import service_pb2
from showcause.wire import read_reply, unseal
from showcause.worker import Call, explain

HEIGHT_PX, GAP_PX = 300, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cat", help="class to explain (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "explanation.png")
    options = parser.parse_args()
    photo, buffer = Image.fromarray(skimage.data.chelsea()), io.BytesIO()
    photo.save(buffer, "PNG")
    request = explain_request(buffer.getvalue(), target=options.target, pictures=["overlay", "color"])
    model = load(top_level("model_store") / "animals-bcos")
    (envelope,) = explain(model, [Call("explain", request.SerializeToString())])
    explanation = read_reply(service_pb2.ExplainResponse.FromString(unseal(envelope))).explanation

    size = (round(photo.width * HEIGHT_PX / photo.height), HEIGHT_PX)
    panels = [photo]
    for kind in ("overlay", "color"):
        picture = Image.open(io.BytesIO(explanation.picture(kind).png)).convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        panels.append(Image.alpha_composite(ground, picture).convert("RGB"))
    strip = Image.new("RGB", (3 * size[0] + 2 * GAP_PX, HEIGHT_PX), "white")
    for position, panel in enumerate(panels):
        strip.paste(panel.resize(size, Image.Resampling.LANCZOS), (position * (size[0] + GAP_PX), 0))
    strip.save(options.out, optimize=True)
    print(f"{options.out}: {strip.width} x {strip.height}")


if __name__ == "__main__":
    main()
