"""Who may ask for what: bearer tokens, known by their hashes from a file that is read again when it has changed.

    [ward-7]                      a name for people; `showcause token ward-7 --models animals-bcos --file FILE` adds it
    sha256 = "9f86d081884c..."    of the token: 256 random bits, so that nobody guesses one from its hash
    models = ["animals-bcos"]     left out: all of them
    metrics = true                whether it may read the metrics; left out: false

Imports no torch.
"""

import hmac
import json
import logging
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from showcause import manifest
from showcause.errors import PermissionDenied, Unauthenticated

log = logging.getLogger(__name__)

NAME, DIGEST = re.compile(r"[A-Za-z0-9_-]{1,64}"), re.compile(r"[0-9a-fA-F]{64}")
KEYS = ("sha256", "models", "metrics")


class TokenFileError(OSError):
    """The file of tokens cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Grant:
    """What somebody may do. models: names, None for all."""

    name: str = ""
    models: frozenset[str] | None = None
    metrics: bool = True


class Identity:
    """Who asks. What they may do is looked up at each question: a token that is withdrawn ends what runs on it."""

    def __init__(self, grant: Callable[[], Grant]):
        self._grant, self.name = grant, grant().name

    def may(self, model: str) -> bool:
        """Whether they may use the model, or learn that there is one; raises Unauthenticated if withdrawn."""
        models = self._grant().models
        return models is None or model in models

    def check(self, model: str) -> None:
        """Raises PermissionDenied for a model that is not theirs, the same whether or not it is served."""
        if not self.may(model):
            allowed = ", ".join(sorted(self._grant().models or ())) or "no models"
            text = "the token is not good for this model"
            raise PermissionDenied("INSUFFICIENT_SCOPE", text, field="model", value=model, allowed=allowed)

    def check_metrics(self) -> None:
        """Raises PermissionDenied for who may not read the metrics."""
        if not self._grant().metrics:
            raise PermissionDenied("INSUFFICIENT_SCOPE", "the token is not good for metrics")


EVERYONE = Identity(Grant)


class Access:
    """The tokens of a file, or without one everybody; raises TokenFileError for a file that cannot be used.

    A file that is changed counts from the next question on. One that is broken, or gone, changes nothing: the tokens of
    before remain, and the log says why.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self._seen = None if path is None else _stamp(path)
        self._grants = {} if path is None else read_tokens(path)

    def admit(self, authorization: str | None) -> Identity:
        """Who sent this Authorization header; raises Unauthenticated."""
        if self.path is None:
            return EVERYONE
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthenticated("a token is needed")
        self._refresh()
        sent = sha256(token.strip().encode(errors="surrogatepass")).digest()
        # All are compared, whichever it is, and each in constant time: how long it takes tells nothing.
        known = [digest for digest in self._grants if hmac.compare_digest(digest, sent)]
        if not known:
            raise _unauthenticated("the token is not known")
        return Identity(lambda: self._current(known[0]))

    def _current(self, digest: bytes) -> Grant:
        self._refresh()
        if digest not in self._grants:
            raise _unauthenticated("the token was withdrawn")
        return self._grants[digest]

    def _refresh(self) -> None:
        assert self.path is not None
        seen = _stamp(self.path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._grants = read_tokens(self.path)
            log.info("%s has changed: %d tokens", self.path, len(self._grants))
        except TokenFileError as error:
            log.error("%s; the tokens of before remain", error)


def _unauthenticated(text: str) -> Unauthenticated:
    return Unauthenticated("INVALID_TOKEN", text, field="authorization", allowed="Bearer TOKEN")


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None for one that is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def read_tokens(path: Path) -> dict[bytes, Grant]:
    """What each token may do, by its SHA-256; raises TokenFileError."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TokenFileError(f"tokens in {path} cannot be read: {error}") from error
    grants: dict[bytes, Grant] = {}
    for name, entry in tables.items():
        digest, grant = _entry(path, name, entry)
        if digest in grants:
            raise TokenFileError(f"tokens in {path}: {name} and {grants[digest].name} are the same token")
        grants[digest] = grant
    return grants


def _entry(path: Path, name: str, entry: Any) -> tuple[bytes, Grant]:
    def wrong(key: str, value: object, allowed: str) -> TokenFileError:
        return TokenFileError(f"tokens in {path}: {name}{key}: not allowed; got {value!r}; allowed: {allowed}")

    if not isinstance(entry, dict):
        raise wrong("", entry, "a table")
    for key in set(entry) - set(KEYS):
        raise wrong("", key, ", ".join(KEYS))
    digest, models, metrics = entry.get("sha256", ""), entry.get("models"), entry.get("metrics", False)
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise wrong(".sha256", digest, "64 hexadecimal digits")
    if models is not None and not (isinstance(models, list) and all(isinstance(one, str) for one in models)):
        raise wrong(".models", models, "a list of names")
    if not isinstance(metrics, bool):
        raise wrong(".metrics", metrics, "true or false")
    return bytes.fromhex(digest), Grant(name, None if models is None else frozenset(models), metrics)


def add_token(path: Path, name: str, models: Sequence[str] | None, metrics: bool) -> str:
    """A new token, whose hash stands in the file from now on; nobody can tell the token from it.

    Makes the file (mode 0600) where there is none. models: names, None for all. Raises TokenFileError.
    """
    if not NAME.fullmatch(name):
        raise TokenFileError(f"name: not allowed; got {name!r}; allowed: 1 to 64 of A-Z a-z 0-9 _ -")
    for model in models or ():
        if not manifest.NAME.fullmatch(model):
            raise TokenFileError(f"models: not allowed; got {model!r}; allowed: names of models")
    if path.exists() and name in (grant.name for grant in read_tokens(path).values()):
        raise TokenFileError(f"{path} has a token {name!r} already; take it out to withdraw it")
    token = secrets.token_urlsafe(32)
    lines = [f"[{name}]", f'sha256 = "{sha256(token.encode()).hexdigest()}"']
    lines += [] if models is None else [f"models = {json.dumps(list(models), ensure_ascii=False)}"]
    lines += ["metrics = true"] if metrics else []
    # In one piece: a service that reads the file meanwhile sees all of it or nothing.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(file, "ab", buffering=0) as tokens:
        tokens.write(("\n" * (tokens.tell() > 0) + "\n".join(lines) + "\n").encode())
    return token
