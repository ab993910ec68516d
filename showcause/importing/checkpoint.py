"""A checkpoint file -> a state dict in the key layout of its network. No code of the file is ever executed."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from showcause.importing import ImportRefused
from showcause.manifest import sha256_of

WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts keep the state dict, beside the rest
# torch.hub's convention for published files: NAME-HASH.pth, HASH the beginning of the file's SHA-256.
HASHED_NAME = re.compile(r".*-([0-9A-Fa-f]{8,64})")
TRACKED = "num_batches_tracked"  # counts training steps; old files lack it, and no prediction uses it


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, the file's SHA-256, and what it was compared with ("" for nothing)."""

    path: Path
    tensors: dict[str, Tensor]
    sha256: str
    verified: str


def read_checkpoint(path: Path, sha256: str | None, say: Callable[[str], None]) -> Checkpoint:
    """Reads a .pth, .pt or .safetensors file; raises ImportRefused for what is not one, or not the one meant.

    sha256: its digest if it is known; otherwise the beginning that its name tells, if it does. ``say`` gets a line for
    each step, as everywhere in this package.
    """
    if path.suffix not in READERS:
        raise ImportRefused(f"--weights {path}: allowed: {', '.join(READERS)}")
    say(f"reading {path} ({path.stat().st_size / 1e6:.1f} MB)")
    digest = sha256_of(path)
    verified = _verified(path, digest, sha256)
    say(f"SHA-256 {digest}: {verified or 'compared with nothing, neither the file name nor --sha256 tells one'}")
    found = READERS[path.suffix](path)
    while isinstance(found, Mapping) and not _is_state_dict(found):
        wrapper = next((key for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if wrapper is None:
            break
        rest = {key: value for key, value in found.items() if key != wrapper}
        say(f"taking what is under {wrapper!r}" + (f"; leaving {_listed(rest)}" if rest else ""))
        found = found[wrapper]
    if not isinstance(found, Mapping) or not _is_state_dict(found):
        holds = _listed(found) if isinstance(found, Mapping) else type(found).__name__
        raise ImportRefused(
            f"--weights {path} holds {holds}; allowed: a state dict (names and tensors), as it is or under "
            + ", ".join(WRAPPERS)
        )
    if without := next((key for key, value in found.items() if value.is_meta), ""):
        raise ImportRefused(f"--weights {path}: {without} is on the device 'meta': it has a shape and no numbers")
    return Checkpoint(path, dict(found), digest, verified)


def adapted(tensors: Mapping[str, Tensor], wanted: Collection[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the ``wanted`` keys as far as they can be, and a note on each thing that was changed.

    A prefix that all keys share is taken off ("module." of DataParallel, "model." of a training class), and counters of
    batches that are missing are 0.
    """
    found, notes, prefix = dict(tensors), [], ""
    while (part := _shared_prefix(found)) and _shared_prefix(wanted) != part:
        prefix += part
        found = {key.removeprefix(part): value for key, value in found.items()}
    if prefix:
        notes.append(f"the prefix {prefix!r} is taken off every key")
    counters = [key for key in wanted if key.endswith(TRACKED) and key not in found]
    if counters:
        notes.append(f"{len(counters)} {TRACKED} are missing and set to 0")
    return found | {key: torch.zeros((), dtype=torch.long) for key in counters}, notes


def _verified(path: Path, digest: str, sha256: str | None) -> str:
    if sha256 is not None:
        if digest != sha256.lower():
            raise ImportRefused(f"--weights {path} has SHA-256 {digest}, and --sha256 wants {sha256.lower()}")
        return "verified, --sha256 tells the same"
    match = HASHED_NAME.fullmatch(path.stem)
    if match is None:
        return ""
    beginning = match[1].lower()
    if not digest.startswith(beginning):
        raise ImportRefused(
            f"--weights {path} has SHA-256 {digest}, and its name tells that it begins with {beginning}: the file is "
            "not the one that was published; where that part of the name means something else, give --sha256"
        )
    return f"verified, it begins with {beginning} as the file name tells"


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of here, it refuses next
            # Only zip archives can be mapped; files from before torch 1.6 are none.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # torch's own text recommends to load it nevertheless. We do not.
        named = re.search(r"GLOBAL (\S+)", str(error))
        holds = f"more than tensors, it names {named[1]}" if named else "what is no checkpoint, or more than tensors"
        raise ImportRefused(
            f"--weights {path} holds {holds}: loading it could execute code, so it is not loaded; "
            "allowed: a state dict alone, as torch.save(net.state_dict(), FILE) writes it"
        ) from None
    except Exception as error:  # torch raises whatever its readers meet in broken data
        reason = " ".join(str(error).split("\n")[0].split()[:30])
        raise ImportRefused(
            f"--weights {path} is cut off, or no checkpoint of torch ({type(error).__name__}: {reason})"
        ) from error


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ImportRefused(f"--weights {path} is no safetensors file, or cut off: {error}") from error


READERS: dict[str, Callable[[Path], object]] = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
}


def _is_state_dict(found: Mapping[object, object]) -> bool:
    return bool(found) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())


def _listed(found: Mapping[object, object]) -> str:
    keys = [str(key) for key in found]
    return (", ".join(keys[:8]) + (", ..." if len(keys) > 8 else "")) or "nothing"


def _shared_prefix(keys: Collection[str]) -> str:
    """The first word of every key with its dot; "" where they differ."""
    words = {key.split(".")[0] + "." if "." in key else "" for key in keys}
    return words.pop() if len(words) == 1 else ""
