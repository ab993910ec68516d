"""How the service writes its log, on stderr: a line of JSON for each record, or text for people. Imports no torch."""

import json
import logging
import sys
import time
from typing import Any

FORMATS = ("json", "text")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Of a request's fields, what a person at a terminal wants to see.
SHORT = ("request_id", "caller", "methods", "batch_size")


def default_format() -> str:
    """Text for who sits before it."""
    return "text" if sys.stderr.isatty() else "json"


def configure(form: str) -> None:
    """Everything that is logged goes to stderr in this form from now on, what the libraries say included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text(TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("showcause", "torchserve"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)


class Json(logging.Formatter):
    """One object a line: time (UTC, RFC 3339), level, logger, message, and the record's own ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Text(logging.Formatter):
    """The same on a line for people; exceptions on lines of their own."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        if fields is None:
            return super().format(record)
        said = [
            f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
            for name in SHORT
            if (value := fields[name])
        ]
        times = " ".join(f"{name}={1000 * value:.0f}ms" for name, value in fields["seconds"].items())
        return " ".join([super().format(record), *said, times])
