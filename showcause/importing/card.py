"""What is known of an imported model, as its CARD.md."""

from dataclasses import dataclass

from showcause.importing.checkpoint import Checkpoint
from showcause.manifest import Manifest

TEMPLATE = """\
# {name} {version}

{description}.
It was imported, not trained here: **how often it is right was not measured**.

## Weights
| | |
|---|---|
| file | `{file}` |
| its SHA-256 | `{sha256}` ({verified}) |
| stored as | {stored}, {parameters} million parameters |
| SHA-256 as stored | `{weights_sha256}` |

## Network
`{network}`, {options}. Probabilities: {probability}.
{untold} leave no trace in the weights: they are the network's published ones unless an option says
otherwise, and nothing here can tell whether they are right.

## Input and labels
{input}.
{classes} labels, in the order of `{labels}`: {first}, ...
Nothing in the weights tells whether the order is right.
{notes}
## Self-test
On two synthetic pictures at the input's size, with the weights as stored:
{tested}

## Limits
- Accuracy was not measured, and neither was anything else on real photos. Where the weights were published, their
  publisher's figures hold for the publisher's preprocessing.
{limit}
"""
# Of B-cos networks and of others.
UNTOLD = {True: "B, temperature and bias", False: "Mean and deviation of the colours, by which photos are normalised,"}
LIMITS = {
    True: """\
- A complete explanation of a wrong prediction explains the wrong prediction. Completeness says that nothing is missing
  from the map, not that the network attends to what a person would.""",
    False: """\
- Its maps are made after the fact: they show what the score is sensitive to, and methods disagree. A map that looks
  right is no proof that the prediction is.""",
}


@dataclass(frozen=True)
class Facts:
    """All that a card tells. notes: what was changed on the way. tested: lines of the self-test."""

    manifest: Manifest
    checkpoint: Checkpoint
    labels_file: str
    float16: bool
    notes: list[str]
    tested: list[str]


def card(facts: Facts) -> str:
    """CARD.md, the same for the same import: it has no date."""
    manifest, spec = facts.manifest, facts.manifest.input
    exact = "linear_map" in manifest.methods
    parameters = sum(value.numel() for key, value in facts.checkpoint.tensors.items() if key.endswith("weight"))
    kept = f"; of the shorter side, {spec.crop:.4g} is kept" if spec.preprocessing == "center_crop" else ""
    options = ", ".join(f"`{key}` = {value!r}" for key, value in manifest.network_options.items())
    return TEMPLATE.format(
        name=manifest.name,
        version=manifest.version,
        description=manifest.description.rstrip("."),
        file=facts.checkpoint.path.name,
        sha256=facts.checkpoint.sha256,
        verified=facts.checkpoint.verified or "compared with nothing",
        stored="filters in float16, all else in float32" if facts.float16 else "float32",
        parameters=f"{parameters / 1e6:.2f}",
        weights_sha256=manifest.weights_sha256,
        network=manifest.network,
        options=f"with the options {options}" if options else "with its published options",
        probability=PROBABILITIES.get(manifest.probability, manifest.probability),
        input=f"{spec.width} x {spec.height} pixels by `{spec.preprocessing}`{kept}",
        untold=UNTOLD[exact],
        limit=LIMITS[exact],
        classes=len(manifest.labels),
        labels=facts.labels_file,
        first=", ".join(manifest.labels[:3]),
        notes="".join(f"\n- {note}" for note in facts.notes) + ("\n" if facts.notes else ""),
        tested="\n".join(f"- {line}" for line in facts.tested),
    )


PROBABILITIES = {
    "sigmoid": "one sigmoid per class, they need not sum to 1",
    "softmax": "a softmax, they sum to 1",
}
