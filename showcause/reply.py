"""What an explanation is, as plain frozen data: made by the worker, and given by the client. numpy only.

Coordinates are pixels of the upright photo, edges, x to the right and y down.
"""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from showcause.receipt import receipt_sha256

Array = NDArray[np.generic]

# Every method of the contract, by its field name in the oneof, and what its explanations are.
METHOD_KINDS = {
    "linear_map": "inherent",
    "filter_parts": "inherent",  # post hoc where the head is not linear: ``Manifest.kind_of``
    "chip": "post_hoc",
    "refined_chip": "post_hoc",
    "guided_chip": "post_hoc",
    "cam": "post_hoc",
    "grad_cam": "post_hoc",
    "gradient": "post_hoc",
    "input_x_gradient": "post_hoc",
    "guided_backprop": "post_hoc",
    "guided_grad_cam": "post_hoc",
}
PROBABILITY_KINDS = ("softmax", "sigmoid")  # all sum to one; one independent probability a class
NEURON = r"([^:@]*)(?::([0-9]{1,9}))?(?:@([0-9]{1,9}),([0-9]{1,9}))?"  # layer, channel, row, column
PICTURE_KINDS = ("heat_map", "overlay", "color", "tiles")
# The pictures that not every method can draw, and the methods that can.
SPECIAL_PICTURES = {"color": ("linear_map",), "tiles": ("filter_parts",)}
Point = tuple[float, float]  # x and y, in photo pixels
Polygon = tuple[Point, ...]  # in order; the last point is joined to the first


@dataclass(frozen=True)
class Rectangle:
    """Edges in photo pixels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        return self.y_max - self.y_min


@dataclass(frozen=True)
class InputFrame:
    """Where in the photo the network looked; maps cover ``seen``. Photo sizes are 0 for a tensor."""

    photo_width: int
    photo_height: int
    seen: Rectangle
    network_width: int
    network_height: int
    preprocessing: str  # a key of showcause.image.PREPROCESSINGS; "none" for a tensor


@dataclass(frozen=True)
class Prediction:
    index: int
    label: str
    logit: float
    probability: float


@dataclass(frozen=True)
class ClassTarget:
    index: int
    label: str

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class Neuron:
    """A unit inside the network. A request may leave open channel and place: the strongest is taken.

    Written LAYER[:CHANNEL][@ROW,COLUMN].
    """

    layer: str
    channel: int | None = None
    place: tuple[int, int] | None = None  # row and column on the layer's grid

    @classmethod
    def parse(cls, text: str) -> "Neuron":
        """The inverse of ``str``; raises ValueError."""
        match = re.fullmatch(NEURON, text)
        if match is None:
            raise ValueError(f"{text!r} is no neuron; allowed: LAYER[:CHANNEL][@ROW,COLUMN]")
        layer, channel, row, column = match.groups()
        place = None if row is None else (int(row), int(column))
        return cls(layer, None if channel is None else int(channel), place)

    def __str__(self) -> str:
        channel = "" if self.channel is None else f":{self.channel}"
        return self.layer + channel + ("" if self.place is None else f"@{self.place[0]},{self.place[1]}")


@dataclass(frozen=True)
class Difference:
    """One class against another: why ``target``, and not ``versus``.

    A reply names both; a request may give an index or a label, or None for the strongest other class.
    """

    target: ClassTarget | int | str | None = None
    versus: ClassTarget | int | str | None = None

    def __str__(self) -> str:
        return f"{self.target}, not {self.versus}"


Target = ClassTarget | Neuron | Difference


@dataclass(frozen=True)
class Residual:
    """Completeness: ``contribution_sum + bias`` should be ``score``.

    The score is a class's logit, a neuron's activation, or the difference of two logits.
    """

    contribution_sum: float
    bias: float
    score: float

    @property
    def relative(self) -> float:
        """``|contribution_sum + bias - score| / |score - bias|``."""
        explained = abs(self.score - self.bias)
        return abs(self.contribution_sum + self.bias - self.score) / max(explained, 1e-12)


@dataclass(frozen=True)
class TestScore:
    """A method's score on the model's test split. control_value: what a trivial control scores there."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    measure: str
    value: float
    control_value: float
    photo_count: int


@dataclass(frozen=True)
class Agreement:
    """How well the maps of two methods for one target agree: Spearman's rank correlation, -1 to 1."""

    target: Target
    method: str
    other_method: str
    rank_correlation: float


@dataclass(frozen=True)
class Picture:
    """kind: of ``PICTURE_KINDS``."""

    kind: str
    png: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Part:
    """What one filter of an interpretable network found, and what it added to the target's score.

    category: the class that the filter has learned, "" for none. name: of the part, "" where none has evidence;
    name_agreement: share of the test pictures on which the filter's peak lies inside the annotated part, name_chance:
    the same if its peaks were dealt out to them at random; 0 to 1. outlines: largest first. activation: the strongest.
    contribution: in logits; share: of the sum of all filters' |contributions|, -1 to 1.
    """

    filter: int
    layer: str
    category: str
    name: str
    name_agreement: float
    name_chance: float
    center: Point
    box: Rectangle
    outlines: tuple[Polygon, ...]
    activation: float
    contribution: float
    share: float

    def __str__(self) -> str:
        """What people call it: "zebra head" or "filter 113"."""
        return f"{self.category} {self.name}" if self.name else f"filter {self.filter}"


@dataclass(frozen=True)
class Explanation:
    """One reason for one target by one method.

    map: (h, w) attribution over the frame's ``seen``; map_dtype: what it was sent in, as numpy calls it. weights:
    (6, H, W), W itself. parts: strongest first. box: in photo pixels, around what is above box_threshold times the
    map's maximum, where asked for and where there is any.
    """

    method: str
    target: Target
    kind: str  # "inherent" or "post_hoc"
    evidence: tuple[Residual | TestScore, ...] = ()
    map: NDArray[np.float32] | None = None
    pictures: tuple[Picture, ...] = ()
    weights: Array | None = None
    parts: tuple[Part, ...] = ()
    box: Rectangle | None = None
    box_threshold: float = 0.0
    map_dtype: str = "float32"

    @property
    def residual(self) -> Residual | None:
        """Completeness, where the method promises it."""
        return next((evidence for evidence in self.evidence if isinstance(evidence, Residual)), None)

    @property
    def test_scores(self) -> tuple[TestScore, ...]:
        """What the method scores on the model's test split, where that was measured."""
        return tuple(evidence for evidence in self.evidence if isinstance(evidence, TestScore))

    def picture(self, kind: str) -> Picture:
        """The picture of one kind; KeyError if it was not asked for."""
        for picture in self.pictures:
            if picture.kind == kind:
                return picture
        raise KeyError(f"no picture {kind!r} in this reply; it has {[picture.kind for picture in self.pictures]}")

    def _repr_png_(self) -> bytes | None:
        """A notebook shows the first picture."""
        return self.pictures[0].png if self.pictures else None


@dataclass(frozen=True)
class Timings:
    """Seconds by stage; stages that serve a whole batch count in full for each of its items."""

    decode_seconds: float = 0.0
    forward_seconds: float = 0.0
    explain_seconds: float = 0.0
    render_seconds: float = 0.0
    total_seconds: float = 0.0
    batch_size: int = 1


@dataclass(frozen=True)
class Reply:
    """A prediction and its reasons. ``receipt`` holds what it takes to compute it again."""

    predictions: tuple[Prediction, ...]
    probability_kind: str  # "softmax" or "sigmoid"
    frame: InputFrame
    explanations: tuple[Explanation, ...] = ()
    receipt: dict[str, object] = field(default_factory=dict)
    timings: Timings = Timings()
    request_id: str = ""
    agreements: tuple[Agreement, ...] = ()

    @property
    def receipt_sha256(self) -> str:
        """By which the service's log has this reply."""
        return receipt_sha256(self.receipt)

    @property
    def explanation(self) -> Explanation:
        """The first explanation."""
        if not self.explanations:
            raise LookupError("this reply has no explanation: it came from predict")
        return self.explanations[0]

    @property
    def names(self) -> list[str]:
        """Of the explanations, all different, as names of files."""
        names: list[str] = []
        for number, explanation in enumerate(self.explanations, start=1):
            name = re.sub(r"[^\w-]+", "_", f"{explanation.target}-{explanation.method}")
            names.append(f"{name}-{number}" if name in names else name)  # labels may differ in punctuation alone
        return names

    def as_dict(self) -> dict[str, object]:
        """All but maps, weights and pictures, as JSON can hold it; of those, the shapes and kinds."""
        return {
            "predictions": [asdict(prediction) for prediction in self.predictions],
            "probability_kind": self.probability_kind,
            "explanations": [
                {
                    "method": explanation.method,
                    "target": asdict(explanation.target),
                    "kind": explanation.kind,
                    "residual": explanation.residual
                    and asdict(explanation.residual) | {"relative_residual": explanation.residual.relative},
                    "map_shape": None if explanation.map is None else list(explanation.map.shape),
                    "map_dtype": None if explanation.map is None else explanation.map_dtype,
                    "weights_shape": None if explanation.weights is None else list(explanation.weights.shape),
                    "pictures": [picture.kind for picture in explanation.pictures],
                    "parts": [asdict(part) for part in explanation.parts],
                    "test_scores": [asdict(score) for score in explanation.test_scores],
                    "box": explanation.box and asdict(explanation.box) | {"threshold": explanation.box_threshold},
                }
                for explanation in self.explanations
            ],
            "agreements": [asdict(agreement) for agreement in self.agreements],
            "frame": asdict(self.frame),
            "receipt": self.receipt,
            "timings": asdict(self.timings),
            "request_id": self.request_id,
        }

    def save(self, folder: Path | str, stem: str) -> list[Path]:
        """Writes ``STEM.json``, and beside it each explanation's pictures (``STEM.NAME.KIND.png``), map and weights
        (``.npy``), NAME as in ``names``; the paths."""
        folder = Path(folder)
        written = [folder / f"{stem}.json"]
        written[0].parent.mkdir(parents=True, exist_ok=True)
        written[0].write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        for name, explanation in zip(self.names, self.explanations, strict=True):
            for picture in explanation.pictures:
                written.append(folder / f"{stem}.{name}.{picture.kind}.png")
                written[-1].write_bytes(picture.png)
            for kind, array in (("map", explanation.map), ("weights", explanation.weights)):
                if array is not None:
                    written.append(folder / f"{stem}.{name}.{kind}.npy")
                    np.save(written[-1], array)
        return written

    def _repr_png_(self) -> bytes | None:
        """A notebook shows the first explanation's first picture."""
        return self.explanations[0]._repr_png_() if self.explanations else None


@dataclass(frozen=True)
class Streamed:
    """What became of one photo of a stream: a reply, or the error that it failed with."""

    id: str
    reply: Reply | None = None
    error: Exception | None = None
