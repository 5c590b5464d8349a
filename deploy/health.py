"""Health of a container: exits with 0 if every address given answers with success.

Without an address it asks the Prefect server, where there is one; the program then needs no more
than the kernels to load. It imports nothing that is slow: it runs every half minute.
"""

import os
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec


def main(addresses: list[str]) -> int:
    """Ask each address; say which does not answer."""
    prefect = os.environ.get("PREFECT_API_URL")
    for address in addresses or ([f"{prefect.rstrip('/')}/health"] if prefect else []):
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - an operator's address
                pass
        except (OSError, ValueError) as error:
            print(f"{address}: {error}", file=sys.stderr)
            return 1
    return 0 if find_spec("solvers") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
