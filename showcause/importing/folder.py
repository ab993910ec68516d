"""The whole import: files and flags -> a folder in the store."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from showcause import store
from showcause.image import InputSpec
from showcause.importing import ImportRefused
from showcause.importing.card import Facts, card
from showcause.importing.checkpoint import adapted, read_checkpoint
from showcause.importing.fit import check_fit, outline
from showcause.importing.labels import read_labels
from showcause.importing.selftest import pictures, self_test
from showcause.importing.toml import model_toml
from showcause.manifest import read_manifest, sha256_of
from showcause.methods import METHODS
from showcause.model import Model, load, served_precision
from showcause.nets import BCOS_NETS, blank, build
from showcause.nets.base import Net, layer_shapes
from showcause.nets.bcos import BcosNet

# What the published networks were made for: the shorter side resized to 256 (Inception: 320), its centre cut out.
IMAGENET = InputSpec(224, 224, "center_crop", 224 / 256)
INPUTS = {
    "bcos_v1_inception3": InputSpec(299, 299, "center_crop", 299 / 320),
    "bcos_v1_cifar9": InputSpec(32, 32, "squash"),
}


def published_input(network: str) -> InputSpec:
    """The input that a network was published with."""
    return INPUTS.get(network, IMAGENET)


def published_probability(network: str) -> str:
    """What its logits were trained for: B-cos networks with one sigmoid a class, all others as it is usual."""
    return "sigmoid" if network in BCOS_NETS else "softmax"


@dataclass(frozen=True)
class Plan:
    """What is to be imported. description, probability: "" for what follows from the
    rest. sha256: of the file ``weights``, if known."""

    name: str
    network: str
    weights: Path
    labels: Path
    input: InputSpec
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str = "1.0"
    description: str = ""
    probability: str = ""
    sha256: str | None = None
    float16: bool = False
    ignore_centring: bool = False


def import_model(plan: Plan, model_store: Path, say: Callable[[str], None], force: bool = False) -> Path:
    """Makes ``model_store/NAME`` and returns it; ``say`` gets a line for each step.

    Raises ImportRefused, StoreError or ManifestError, with nothing left behind.
    """
    store.check_free(model_store, plan.name, force)
    if (model_store / plan.name).exists():
        say(f"{model_store / plan.name} is replaced when all is well")
    labels, label_notes = read_labels(plan.labels)
    for note in label_notes:
        say(note)
    _check_input(plan, outline(plan.network, len(labels), plan.options))

    checkpoint = read_checkpoint(plan.weights, plan.sha256, say)
    check_fit(checkpoint.tensors, plan.network, len(labels), plan.options, plan.weights, plan.labels)
    net = build(plan.network, len(labels), dict(plan.options)).eval()
    state, notes = adapted(checkpoint.tensors, net.state_dict())
    notes += _centred(state, plan) if isinstance(net, BcosNet) else []
    for note in notes:
        say(note)
    net.load_state_dict(state)
    say(f"all {len(state)} tensors fit {plan.network} with {len(labels)} classes")

    with store.new_folder(model_store, plan.name, force) as folder:
        say(f"writing {'float16' if plan.float16 else 'float32'} weights")
        weights = folder / "weights.safetensors"
        save_file(served_precision(net) if plan.float16 else net.state_dict(), weights)
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        model = _described(plan, len(labels), sha256_of(weights), folder)
        tested = []
        for line in self_test(model):
            say(f"self-test: {line}")
            tested.append(line)
        if plan.float16:
            tested.append(_rounding(net, model))
            say(f"self-test: {tested[-1]}")
        facts = Facts(model.manifest, checkpoint, plan.labels.name, plan.float16, notes + label_notes, tested)
        (folder / "CARD.md").write_text(card(facts), encoding="utf-8")
    return model_store / plan.name


def _check_input(plan: Plan, net: Net) -> None:
    size = f"{plan.input.width}x{plan.input.height}"
    try:
        layer_shapes(net, blank(net, plan.input.height, plan.input.width))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ImportRefused(f"--input {size}: network {plan.network} cannot run on it: {reason}") from error


def _centred(state: Mapping[str, Tensor], plan: Plan) -> list[str]:
    """B-cos norms do not centre: a network that was trained with centring would answer something else here, and no
    test of ours could tell. Raises ImportRefused, or notes it where that is wanted."""
    centred = [key for key, value in state.items() if key.endswith("running_mean") and bool(value.any())]
    if not centred:
        return []
    text = f"{len(centred)} running_mean are not zero, such as {centred[0]}: these norms were trained with centring"
    if not plan.ignore_centring:
        raise ImportRefused(
            f"--weights {plan.weights}: {text}, and B-cos norms do not centre, so that the network would predict "
            "something else; --ignore-centring imports it nevertheless"
        )
    return [f"warning: {text}, which is left out here"]


def _rounding(net: Net, model: Model) -> str:
    """How far the network as it is served is from the one that was given."""
    rgb = pictures(model.manifest.input)
    given, served = (each.run(rgb).evidence for each in (net, model.net))
    error, largest = float((given - served).abs().max()), float(given.abs().max())
    same = "the same" if given.argmax(1).equal(served.argmax(1)) else "another"
    return (
        f"float16 filters change the logits by at most {error:.2g}, {error / largest:.1g} of the largest; "
        f"the strongest class is {same}"
    )


def _described(plan: Plan, classes: int, weights_sha256: str, folder: Path) -> Model:
    """Writes model.toml with all methods that suit the model, which only the model itself can tell; and loads it."""
    path, every = folder / "model.toml", "gradient"
    path.write_text(_settings(plan, classes, weights_sha256, [every]), encoding="utf-8")
    model = load(folder)
    suiting = [name for name, row in METHODS.items() if row.suits(model)]
    methods = sorted(suiting, key=lambda name: name.endswith("chip"))  # last what is yet to be distilled: no default
    path.write_text(_settings(plan, classes, weights_sha256, methods), encoding="utf-8")
    return replace(model, manifest=read_manifest(folder))


def _settings(plan: Plan, classes: int, weights_sha256: str, methods: list[str]) -> str:
    """model.toml."""
    described = (
        f"{plan.network} with {classes} classes, imported from {plan.weights.name.encode(errors='replace').decode()}"
    )
    return model_toml(
        {
            "name": plan.name,
            "version": plan.version,
            "description": plan.description or described,
            "network": plan.network,
            "probability": plan.probability or published_probability(plan.network),
            "methods": methods,
            "weights_sha256": weights_sha256,
            "input": asdict(plan.input),
            "network_options": plan.options,
        }
    )
