"""The Dockerfile, read: its stages and what is said in each. As much of the syntax as ours uses."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Stage:
    """One FROM and the lines below it: (instruction, rest of the line)."""

    name: str
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for each, rest in self.lines if each == instruction]


def stages() -> dict[str, Stage]:
    """By name, in the order of the file. Raises ValueError for a stage without one."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    found: dict[str, Stage] = {}
    stage = Stage("", "")
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = rest.split()
            stage = found[name] = Stage(name, base)
        elif instruction:
            stage.lines.append((instruction, " ".join(rest.split())))
    return found


def chain(name: str) -> list[Stage]:
    """The stage and those that it stands on, the lowest first."""
    every = stages()
    stage = every[name]
    return [*(chain(stage.base) if stage.base in every else []), stage]


def environment(name: str) -> dict[str, str]:
    """What ENV sets for whatever runs in the image."""
    found: dict[str, str] = {}
    for stage in chain(name):
        for line in stage.all("ENV"):
            found |= dict(each.split("=", 1) for each in shlex.split(line))
    return found


def copied(name: str) -> list[tuple[str, str]]:
    """(from, to) of what COPY takes from the repository, both as written."""
    pairs = []
    for stage in chain(name):
        for line in stage.all("COPY"):
            if not line.startswith("--from"):
                *sources, target = line.split()
                pairs += [(source, target) for source in sources]
    return pairs
