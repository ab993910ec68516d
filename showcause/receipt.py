"""One number that stands for a receipt: in the log, and for who wants to find a reply there. Imports nothing."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def receipt_sha256(receipt: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of a receipt's JSON in UTF-8 with sorted keys and no spaces.

    receipt: as REST writes it, and as ``Reply.receipt`` and the files of ``showcause explain`` have it.
    """
    text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
