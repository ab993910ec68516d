"""What a run of ``showcause explain`` has done: a JSON line a photo, for scripts and for ``--resume``."""

import json
from hashlib import file_digest
from pathlib import Path
from types import TracebackType

NAME = "explanations.jsonl"


class JournalError(Exception):
    """A run that cannot be resumed; the message says what differs."""


class Journal:
    """``OUT/explanations.jsonl``: first the request, then a line for each photo, written when its files are.

    A run that was killed leaves a journal whose last line may be cut off; that photo is done again.
    """

    def __init__(self, out: Path, request: dict[str, object], resume: bool):
        self.path = out / NAME
        self._done: dict[str, str] = {}  # name -> SHA-256 of the photo
        out.mkdir(parents=True, exist_ok=True)
        kept = self._read(request) if resume and self.path.exists() else 0
        self._file = open(self.path, "r+b" if kept else "wb")  # noqa: SIM115 - closed by __exit__
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self.add({"request": request})

    def has(self, name: str, photo: Path) -> bool:
        """Whether this very photo, by its bytes, is explained already."""
        if name not in self._done:
            return False
        with open(photo, "rb") as file:
            return file_digest(file, "sha256").hexdigest() == self._done[name]

    def add(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read(self, request: dict[str, object]) -> int:
        """Notes what is done; returns how many bytes of the file are whole."""
        whole = 0
        with open(self.path, "rb") as file:
            for number, raw in enumerate(file):
                try:
                    line = json.loads(raw) if raw.endswith(b"\n") else None
                except ValueError:
                    line = None
                if line is None:
                    break
                if number == 0:
                    self._check(line.get("request"), request)
                elif "error" not in line:
                    self._done[line["name"]] = line["receipt"]["input_sha256"]
                whole += len(raw)
        return whole

    def _check(self, before: object, now: dict[str, object]) -> None:
        if not isinstance(before, dict):
            raise JournalError(f"{self.path} is no journal of this command; use another --out, or leave out --resume")
        differing = [f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in now if before.get(key) != now[key]]
        if differing:
            text = f"cannot resume in {self.path.parent}: {'; '.join(differing)}"
            raise JournalError(f"{text}; use another --out, or leave out --resume")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
