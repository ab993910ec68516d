"""Where the top-level folders are: beside the code in a clone, inside the package in an installed wheel."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def top_level(name: str) -> Path:
    """``handlers`` or ``model_store``."""
    bundled = PACKAGE / "_bundled" / name
    return bundled if bundled.exists() else PACKAGE.parent / name
