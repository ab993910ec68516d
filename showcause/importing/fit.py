"""Whether a checkpoint's tensors are those of a network. Shapes alone are compared, so that nothing is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from showcause import nets
from showcause.importing import ImportRefused
from showcause.importing.checkpoint import TRACKED, adapted
from showcause.model import misfit
from showcause.nets import BCOS_NETS, PLAIN_NETS
from showcause.nets.base import Net
from showcause.nets.installed import is_installed

IMPORTABLE = BCOS_NETS | PLAIN_NETS  # the others come from recipes; and what the operator installed


def outline(network: str, classes: int, options: Mapping[str, Any]) -> Net:
    """The network's names and shapes, see ``showcause.nets.outline``.

    Raises ImportRefused for a network that cannot be imported, or options that there are not.
    """
    if network not in IMPORTABLE and not is_installed(network):
        allowed = f"{', '.join(IMPORTABLE)}, or python:PACKAGE.MODULE:BUILDER"
        raise ImportRefused(f"--network: network is {network!r}; allowed: {allowed}")
    try:
        return nets.outline(network, classes, options)
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:  # RuntimeError: torch's
        raise ImportRefused(
            f"--network {network} with {classes} classes and options {dict(options)}: {error}"
        ) from error


def check_fit(
    tensors: Mapping[str, Tensor], network: str, classes: int, options: Mapping[str, Any], path: Path, labels: Path
) -> None:
    """Raises ImportRefused with all that differs: the number of classes first, and whose tensors they seem to be."""
    net = outline(network, classes, options)
    state, _ = adapted(tensors, net.state_dict())
    if not misfit(net, state):
        _check_types(state, path)
        return
    problems = [f"--weights {path} does not fit --network {network}"]
    outputs = _head_outputs(state, network, options)
    if outputs not in (None, classes):
        problems.append(f"the head has {outputs} outputs and {labels} has {classes} labels")
    if differing := _misfit(tensors, network, outputs or classes, options):
        if fitting := [other for other in IMPORTABLE if other != network and _fits(tensors, other, options)]:
            problems.append(f"these keys fit {' and '.join(fitting)}")
        problems.append(differing)
    raise ImportRefused("\n".join(problems))


def _check_types(state: Mapping[str, Tensor], path: Path) -> None:
    for key, value in state.items():
        if value.layout != torch.strided or not (value.is_floating_point() or key.endswith(TRACKED)):
            raise ImportRefused(
                f"--weights {path}: {key} is {value.layout} of {value.dtype}; allowed: dense and floating"
            )


def _fits(tensors: Mapping[str, Tensor], network: str, options: Mapping[str, Any]) -> bool:
    """With the options given, which another network need not know, or without any."""
    for some in (options, {}) if options else ({},):
        try:
            wanted = outline(network, 2, some).state_dict()
        except ImportRefused:
            continue
        state, _ = adapted(tensors, wanted)
        if state.keys() == wanted.keys():
            outputs = _head_outputs(state, network, some)
            if outputs is not None and not _misfit(tensors, network, outputs, some):
                return True
    return False


def _misfit(tensors: Mapping[str, Tensor], network: str, classes: int, options: Mapping[str, Any]) -> str:
    net = outline(network, max(classes, 2), options)
    return misfit(net, adapted(tensors, net.state_dict())[0])


def _head_outputs(state: Mapping[str, Tensor], network: str, options: Mapping[str, Any]) -> int | None:
    """How many classes the checkpoint's head has. The head is the first tensor whose shape follows their number."""
    two, three = (outline(network, classes, options).state_dict() for classes in (2, 3))
    head = next((key for key in two if two[key].shape != three[key].shape), "")
    if not head:
        return None
    units = three[head].shape[0] - two[head].shape[0]  # of each class: more than one with MaxOut
    return state[head].shape[0] // units if head in state and state[head].ndim == two[head].ndim else None
