"""Questions to a Prefect server."""

import json
import urllib.request
from typing import Any

from flows.server import EphemeralServer


def ask(server: EphemeralServer, path: str, **body: Any) -> Any:
    """Post a request to the server's API; its answer."""
    request = urllib.request.Request(
        server.url + path,
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
