"""What of a night's provenance may move a number."""

from collections.abc import Mapping
from typing import Any


def versions(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The versions of the product, of its libraries and of the machine, by name.

    Args:
        provenance: as :func:`pipeline.provenance.provenance` gives it.
    """
    parts = (part.partition(" ") for part in str(provenance.get("fingerprint", "")).split(", "))
    found = {name: value for name, _, value in parts if name}
    packages = provenance.get("packages")
    if isinstance(packages, Mapping):
        found |= {str(name): str(version) for name, version in packages.items()}
    more = ("meanfield", "commit", "python", "llvm", "platform", "host")
    return found | {key: str(provenance[key]) for key in more if provenance.get(key)}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What differs between two nights, as (old, new) by name; nothing where one is not known."""
    if not before or not after:
        return {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: (before.get(name, "unknown"), after.get(name, "unknown")) for name in names}
