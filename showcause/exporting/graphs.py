"""A model -> graphs for ONNX Runtime, checked against torch. What they take and give stands in
``showcause.nets.onnx_passes``, which runs them.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir
import torch
from torch import Tensor, nn

from showcause.exporting.pooling import TRANSLATIONS
from showcause.importing.selftest import pictures
from showcause.manifest import GRAPH, TRANSPOSE, ManifestError
from showcause.model import Model
from showcause.nets.base import Net, Tape, recording
from showcause.nets.bcos import BcosNet
from showcause.nets.bcos_program import Pass, Program
from showcause.nets.onnx_passes import ABOUT, OnnxPasses

MOST_DIFFERENCE = 1e-4  # of the largest value, between the runtimes


def export(model: Model, out: Path) -> Iterator[str]:
    """Writes the graphs into a folder; a line for each with what the check against torch found. Raises ManifestError
    for a network that cannot be exported, or that answers otherwise afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    net, rgb = model.net, pictures(model.manifest.input)
    program = Program(net, packed=False) if isinstance(net, BcosNet) else None
    layers = [] if program else layers_read(model)
    about = json.dumps({"weights_sha256": model.manifest.weights_sha256, "layers": layers})
    with torch.no_grad():
        x = net.encoded(rgb)
        if isinstance(net, BcosNet) and program:
            done = program.run(x)
            names = [f"factor_{number}" for number in range(len(flat(done.kept)))]
            _write(Factors(net, program), {"x": x}, ["evidence", *names], out / GRAPH, about)
            weights = torch.eye(net.classes)[: len(x)].contiguous()
            inputs = {"weights": weights, **dict(zip(names, flat(done.kept), strict=True))}
            _write(LinearMap(net, program, done), inputs, ["w"], out / TRANSPOSE, about)
        else:
            _write(Layers(net, layers), {"x": x}, ["evidence", *layers], out / GRAPH, about)
    yield from check(model, out)


def layers_read(model: Model) -> list[str]:
    """The layers that methods without gradients read, in the order in which they run."""
    wanted = {model.last_grid, *model.chip} - {""}
    return [name for name in model.layers if name in wanted]


class Layers(nn.Module):
    """x -> evidence and layers."""

    def __init__(self, net: Net, layers: Sequence[str]):
        super().__init__()
        self._net, self._layers = net, layers

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with recording(Tape(frozenset(self._layers))) as noted:
            evidence = self._net.evidence(x)
        return evidence, *(noted[name] for name in self._layers)


class Factors(nn.Module):
    """x -> evidence and factors, of a B-cos network."""

    def __init__(self, net: BcosNet, program: Program):
        super().__init__()
        self._temperature, self._program = net.temperature, program

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        done = self._program.run(x)
        return done.scores.mean((2, 3)) / self._temperature, *flat(done.kept)


class LinearMap(nn.Module):
    """A weight for each class, and factors -> the linear map. like: a pass of such photos, for its shapes."""

    def __init__(self, net: BcosNet, program: Program, like: Pass):
        super().__init__()
        self._temperature, self._program, self._like = net.temperature, program, like

    def forward(self, weights: Tensor, *factors: Tensor) -> Tensor:
        kept = like(self._like.kept, iter(factors))
        scores = self._like.scores.shape
        return self._program.pull_all(weights / self._temperature, kept, self._like.shapes, scores)


def flat(kept: Any) -> list[Tensor]:
    """All tensors of what a pass kept, in order."""
    if isinstance(kept, list | tuple):
        return [tensor for each in kept for tensor in flat(each)]
    return [] if kept is None else [kept]


def like(kept: Any, tensors: Iterator[Tensor]) -> Any:
    """The same structure with other tensors: what ``flat`` undoes."""
    if isinstance(kept, list | tuple):
        return type(kept)(like(each, tensors) for each in kept)
    return None if kept is None else next(tensors)


def _write(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], path: Path, about: str) -> None:
    """One graph, of batches of any size."""
    many = torch.export.Dim("N", min=1)
    shapes: list[Any] = [{0: many} for _ in inputs]
    variadic = len(inputs) > 1  # ``LinearMap``: the weights, and all factors
    try:
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(shapes[0], tuple(shapes[1:])) if variadic else (shapes[0],),
            custom_translation_table=TRANSLATIONS,
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ManifestError(f"the network cannot be exported: {reason}") from error
    if program is None:
        raise ManifestError("the network cannot be exported")
    program.model.metadata_props[ABOUT] = about
    onnx_ir.save(program.model, path)


def check(model: Model, folder: Path) -> Iterator[str]:
    """Holds the graphs against torch, on two pictures together and one alone."""
    exported = OnnxPasses(model.net, folder, model.device, model.manifest.weights_sha256)
    both, exact = pictures(model.manifest.input).to(model.device), isinstance(model.net, BcosNet)
    tape = Tape(start="input", hold=True) if exact else Tape(frozenset(exported.layers))
    for rgb in (both, both[:1]):
        wanted, found = model.net.run(rgb, tape), exported.run(rgb, tape)
        pairs = {"logits": (found.logits, wanted.logits)}
        pairs |= {name: (found.activations[name], wanted.activations[name]) for name in exported.layers}
        if found.pull and wanted.pull:
            rows = range(len(rgb))
            signs = [{int(index): 1.0} for index in wanted.logits.argmax(1)]
            pairs["linear map"] = found.pull(rows, signs), wanted.pull(rows, signs)
        off = {name: float((a - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}
        for name, difference in off.items():
            if not difference <= MOST_DIFFERENCE:  # NaN is not either
                raise ManifestError(
                    f"{model.manifest.folder}: in ONNX Runtime {name} differs by {difference:.1g} of the largest; "
                    f"allowed: {MOST_DIFFERENCE:g}"
                )
        yield f"batch of {len(rgb)}: " + ", ".join(f"{name} differs by {value:.1g}" for name, value in off.items())
