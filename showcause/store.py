"""A model store: a folder with a folder for each model. What is in it, a new one, one less. Imports no torch."""

import argparse
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from showcause.manifest import NAME, Manifest, ManifestError, model_folders, read_manifest
from showcause.paths import top_level

VARIABLE = "SHOWCAUSE_MODEL_STORE"


class StoreError(Exception):
    """What cannot be done with a store; the message names the folder or the flag, and what is allowed."""


@dataclass(frozen=True)
class Entry:
    """One folder of a store. problem: why it cannot be served, "" if it can; only then is the manifest sure."""

    folder: Path
    manifest: Manifest | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The model's; where it cannot be read, the folder's."""
        return self.manifest.name if self.manifest else self.folder.name

    @property
    def identity(self) -> tuple[str, ...]:
        """Name and version: what no two folders of a store may have in common."""
        return (self.name, self.manifest.version) if self.manifest else (self.folder.name,)

    def problem_of_weights(self) -> str:
        """Why the weights are not those that are pinned, "" if they are; reads them."""
        try:
            if self.manifest:
                self.manifest.check_weights()
        except (ManifestError, OSError) as error:
            return str(error)
        return ""

    @property
    def weights_bytes(self) -> int:
        """Size of the weights; 0 without."""
        path = self.folder / "weights.safetensors"
        return path.stat().st_size if path.exists() else 0


def add_flag(parser: argparse._ActionsContainer) -> None:
    """``--model-store``, the same for every command; the environment gives the default."""
    default = top_level("model_store")
    parser.add_argument(
        "--model-store",
        type=Path,
        default=os.environ.get(VARIABLE, default),
        metavar="DIR",
        help=f"folder with a folder for each model [{VARIABLE}; default {default}]",
    )


def entries(store: Path) -> list[Entry]:
    """All folders of a store by name, those that are broken among them; raises StoreError where there is no store."""
    if not store.is_dir():
        raise StoreError(f"--model-store {store} is no folder")
    found = [_entry(folder) for folder in model_folders(store)]
    count = Counter(entry.identity for entry in found)
    return [
        replace(entry, problem=f"{store}: two folders hold {' '.join(entry.identity)}")
        if count[entry.identity] > 1 and not entry.problem
        else entry
        for entry in found
    ]


def find(store: Path, name: str) -> Entry:
    """The model of that name, or the folder; raises StoreError naming those that there are."""
    found = entries(store)
    # A folder's name is unique. Usually the model has the same.
    for entry in [*(e for e in found if e.folder.name == name), *(e for e in found if e.name == name)]:
        return entry
    raise StoreError(f"{store} has no model {name!r}; it has {', '.join(entry.name for entry in found) or 'none'}")


def check_free(store: Path, name: str, force: bool) -> None:
    """Raises StoreError unless a model of that name can be put into the store."""
    if not NAME.fullmatch(name):
        raise StoreError(f"NAME is {name!r}; allowed: letters, digits, '-', '_' and '.', a letter or digit first")
    folder = store / name
    if os.path.lexists(folder):
        if not force:
            raise StoreError(f"{folder} exists; --force replaces it")
        check_removable(folder)
    for entry in entries(store) if store.is_dir() else ():
        if entry.name == name and entry.folder != folder:
            raise StoreError(f"{entry.folder} holds a model of the name {name!r}: no two of a store may have the same")


@contextmanager
def new_folder(store: Path, name: str, force: bool = False) -> Iterator[Path]:
    """A folder to be filled, which becomes ``store/name`` when all went well and is gone when not.

    Nobody sees it before: it is made inside a hidden folder, where no store looks, on the same file system, so that a
    rename puts it in its place at once. Raises StoreError, see ``check_free``; force: what was there is replaced.
    """
    check_free(store, name, force)
    store.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(dir=store, prefix=".importing-"))
    try:
        folder, place = hidden / name, store / name
        folder.mkdir()
        yield folder
        check_free(store, name, force)  # the work took its time
        replaced = hidden / "replaced"
        try:
            if force and place.exists():
                place.rename(replaced)
            folder.rename(place)
        except BaseException:  # Ctrl-C, too: what was there must not be lost
            if replaced.exists() and not place.exists():
                replaced.rename(place)
            raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def check_removable(folder: Path) -> None:
    """Raises StoreError for what is not a model folder of the store itself."""
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link to {os.readlink(folder)}: links are not followed; remove it yourself")
    if not (folder / "model.toml").is_file():
        raise StoreError(f"{folder} is no model folder: it has no model.toml; nothing is removed")


def remove(folder: Path) -> None:
    """Deletes a model folder. Links in it are deleted and not followed."""
    check_removable(folder)
    shutil.rmtree(folder)


def _entry(folder: Path) -> Entry:
    try:
        manifest = read_manifest(folder)
    except (ManifestError, OSError, UnicodeDecodeError) as error:
        return Entry(folder, None, str(error))
    return Entry(folder, manifest, "" if manifest.weights_path.exists() else f"{folder} has no weights.safetensors")
