"""The description of the REST API: ``openapi.json`` for programs, and a page that shows it to people.

Both lie beside this file. The page loads nothing but that description; its policy allows its own script and style, by
their digests, and nothing else.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.responses import Response

HERE = Path(__file__).parent


async def openapi(*_: object) -> Response:
    """OpenAPI 3.1, made from the contract."""
    return Response(_read("openapi.json"), media_type="application/json")


async def docs(*_: object) -> Response:
    """The page."""
    page = _read("docs.html")
    headers = {"content-security-policy": _policy(page), "x-content-type-options": "nosniff"}
    return Response(page, media_type="text/html", headers=headers)


@cache
def _read(name: str) -> str:
    return (HERE / name).read_text("utf-8")


@cache
def _policy(page: str) -> str:
    digests = {}
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    own = "; ".join(f"{tag}-src 'sha256-{digest}'" for tag, digest in digests.items())
    return f"default-src 'none'; {own}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
