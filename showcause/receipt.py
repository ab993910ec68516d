"""One number that stands for a receipt: in the log, and for who wants to find a reply there. Imports nothing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def receipt_sha256(receipt: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of a receipt's JSON in UTF-8 with sorted keys and no spaces, without the fields that say
    nothing (0, "", [], false): so it stays what it is when receipts get further fields.

    receipt: as REST writes it, and as ``Reply.receipt`` and the files of ``showcause explain`` have it.
    """
    text = json.dumps(_telling(receipt), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _telling(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _telling(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each not in (0, "", "0", [], None)}  # False is 0
    return [_telling(each) for each in value] if isinstance(value, list | tuple) else value
