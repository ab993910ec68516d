"""Passes by ONNX Runtime: those that need no gradient, and the linear maps of B-cos networks.

``showcause.exporting`` writes a network as two graphs:

    network.onnx     x (N, C, H, W), the encoded photos -> evidence (N, classes), and either the layers that methods
                     read or, of a B-cos network, the factors that its linear map is made of
    transpose.onnx   weights (N, classes) and those factors -> w (N, C, H, W), the linear map behind the weighted sum;
                     of B-cos networks alone

Factors stay where they were computed. Everything else is asked of torch, by the same network with the same weights.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from showcause.manifest import GRAPH, TRANSPOSE, ManifestError
from showcause.nets.base import Forward, Net, Tape
from showcause.nets.bcos import BcosNet, whole_passes

ABOUT = "showcause"  # the graph's metadata, JSON: weights_sha256; layers, in the order of the outputs
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxPasses:
    """The passes of one network. folder: where its graphs are. Raises ManifestError for graphs that are of other
    weights or cannot run on the device. Sessions are shared between threads.
    """

    def __init__(self, net: Net, folder: Path, device: torch.device, weights_sha256: str):
        self._net, self._device = net, device
        self._network, about = _session(folder / GRAPH, device, weights_sha256)
        self.layers: tuple[str, ...] = tuple(about["layers"])
        self._outputs = [output.name for output in self._network.get_outputs()]
        self._transpose = None
        if isinstance(net, BcosNet):
            self._transpose, _ = _session(folder / TRANSPOSE, device, weights_sha256)
        # What is in each logit besides the evidence does not depend on the photo.
        height, width = self._network.get_inputs()[0].shape[2:]
        self._bias = net.run(torch.zeros(1, 3, height, width, device=device)).bias

    def run(self, rgb: Tensor, tape: Tape = Tape()) -> Forward:
        """``Net.run``."""
        if not self._can(tape):
            return self._net.run(rgb, tape)
        with torch.inference_mode(False), torch.no_grad():
            x = self._net.encoded(rgb)
        keep = self._transpose is not None and tape.hold
        layers = [] if self._transpose else [name for name in self.layers if name in tape.layers]
        wanted = self._outputs if keep else ["evidence", *layers]
        evidence, *others = self._ask(self._network, {"x": x.cpu().numpy()}, wanted)
        logits = self._tensor(evidence)
        return Forward(
            x=x,
            evidence=logits,
            logits=logits + self._bias,
            bias=self._bias,
            activations=dict(zip(layers, map(self._tensor, [] if keep else others), strict=True)),
            pull=self._pull_of(dict(zip(wanted[1:], others, strict=True)), logits.shape) if keep else None,
            runtime=("onnxruntime", ort.__version__),
        )

    def _can(self, tape: Tape) -> bool:
        if self._transpose is not None:
            return whole_passes(tape)
        return tape.start == "nowhere" and not tape.edits and tape.layers <= set(self.layers)

    def _pull_of(self, factors: Mapping[str, ort.OrtValue], shape: torch.Size) -> Any:
        """``Forward.pull`` of a pass. shape: of its logits."""

        def pull(rows: Sequence[int], signs: Sequence[Mapping[int, float]]) -> Tensor:
            weights = np.zeros(shape, np.float32)
            for row, each in zip(rows, signs, strict=True):
                weights[row, list(each)] = list(each.values())
            (w,) = self._ask(self._transpose, {"weights": weights, **factors}, ["w"])
            return self._tensor(w)[list(rows)]

        return pull

    def _ask(
        self, session: Any, inputs: Mapping[str, NDArray[np.float32] | ort.OrtValue], outputs: Sequence[str]
    ) -> list[ort.OrtValue]:
        """One run of a graph; what comes out stays on the device until somebody reads it."""
        place = self._device.type, self._device.index or 0
        # On a CPU a value is the array's own memory, and the binding does not keep it: this does, until the run ends.
        placed = {name: self._placed(value, place) for name, value in inputs.items()}
        binding = session.io_binding()
        for name, value in placed.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, *place)
        session.run_with_iobinding(binding)
        found: list[ort.OrtValue] = binding.get_outputs()
        return found

    @staticmethod
    def _placed(value: NDArray[np.float32] | ort.OrtValue, place: tuple[str, int]) -> ort.OrtValue:
        if isinstance(value, np.ndarray):
            return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), *place)
        return value

    def _tensor(self, value: ort.OrtValue) -> Tensor:
        return torch.from_numpy(value.numpy()).to(self._device)


def _session(path: Path, device: torch.device, weights_sha256: str) -> tuple[ort.InferenceSession, dict[str, Any]]:
    """A graph, ready to run, and what is written in it.

    onnxruntime takes the CPU without a word where the GPU's libraries are missing.
    """
    provider = PROVIDERS[device.type]
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait would hold cores that other workers have work for; and what is freed is for malloc to keep, as
    # everywhere else in a worker (``freed_memory.py``).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    details = {"device_id": device.index or 0, "use_tf32": 0} if device.type == "cuda" else {}
    try:
        session = ort.InferenceSession(path, options, providers=[(provider, details)])
    except Exception as error:  # onnxruntime's own are many
        raise ManifestError(f"{path} cannot be run by onnxruntime {ort.__version__}: {error}") from error
    if provider not in session.get_providers():
        raise ManifestError(
            f"{path}: onnxruntime {ort.__version__} has {', '.join(session.get_providers())}; needed on {device}: "
            f"{provider}, of the package onnxruntime-gpu and its CUDA libraries"
        )
    about = json.loads(session.get_modelmeta().custom_metadata_map.get(ABOUT, "{}"))
    if about.get("weights_sha256") != weights_sha256:
        made_of = about.get("weights_sha256", "unknown weights")
        raise ManifestError(f"{path} was made of {made_of}; allowed: {weights_sha256}")
    return session, about
