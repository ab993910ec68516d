"""What runs of ``showcause explain`` have done: a JSON line a photo, for scripts and for ``--resume``."""

import json
from hashlib import file_digest
from pathlib import Path
from types import TracebackType

NAME = "explanations.jsonl"


class JournalError(Exception):
    """A run that cannot be kept or resumed; the message says what is in its way."""


class Journal:
    """``OUT/explanations.jsonl``: for each run its request, then a line for each photo, written when its files are.

    The file only grows. A run that was killed may leave its last line cut off; that one is taken away, and its photo
    done again. With ``resume``, what any run with the same request has done counts.
    """

    def __init__(self, out: Path, request: dict[str, object], resume: bool):
        self.path = out / NAME
        self._done: dict[str, str] = {}  # name -> SHA-256 of the photo
        self._model: object = None  # what made them
        out.mkdir(parents=True, exist_ok=True)
        whole, before = self._read(request) if self.path.exists() else (0, [])
        if resume and before and request not in before:
            last = before[-1]
            differing = [
                f"{key} was {last.get(key)!r} and is {now!r}" for key, now in request.items() if last.get(key) != now
            ]
            text = f"cannot resume in {out}: {'; '.join(differing)}"
            raise JournalError(f"{text}; use another --out, or leave out --resume")
        if not resume:
            self._done, self._model = {}, None
        self._file = open(self.path, "r+b" if self.path.exists() else "wb")  # noqa: SIM115 - closed by __exit__
        self._file.truncate(whole)
        self._file.seek(whole)
        self.add({"request": request})

    def has(self, name: str, photo: Path) -> bool:
        """Whether this very photo, by its bytes, is explained already."""
        if name not in self._done:
            return False
        try:
            with open(photo, "rb") as file:
                return file_digest(file, "sha256").hexdigest() == self._done[name]
        except OSError:
            return False  # whoever reads it next will say so

    def add(self, line: dict[str, object]) -> None:
        """Writes a line; raises JournalError where another model has made it than what is being resumed."""
        if (model := _model_of(line)) is not None:
            if self._model not in (None, model):
                raise JournalError(
                    f"{self.path} was made by the model {self._model}, and the service has {model}: "
                    "use another --out, or leave out --resume"
                )
            self._model = model
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read(self, request: dict[str, object]) -> tuple[int, list[dict[str, object]]]:
        """Notes what is done; how many bytes of the file are whole lines, and the requests in it."""
        whole, requests = 0, list[dict[str, object]]()
        with open(self.path, "rb") as file:
            for number, raw in enumerate(file):
                if not raw.endswith(b"\n"):
                    break
                whole += len(raw)
                try:
                    line = json.loads(raw)
                except ValueError:
                    line = None
                head = line.get("request") if isinstance(line, dict) else None
                if isinstance(head, dict):
                    requests.append(head)
                elif number == 0:
                    raise JournalError(f"{self.path} is no journal of this command; use another --out")
                elif isinstance(line, dict) and requests[-1] == request and "error" not in line:
                    self._done[line["name"]] = line["receipt"]["input_sha256"]
                    self._model = _model_of(line)
        return whole, requests

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _model_of(line: dict[str, object]) -> list[object] | None:
    """Name, version and weights, as the receipt tells them."""
    receipt = line.get("receipt")
    if not isinstance(receipt, dict):
        return None
    return [receipt["model"], receipt["version"], receipt["weights_sha256"]]
