"""Keeping secrets out of what a run prints and leaves behind.

Credentials come from the environment and are in no study and no store. Libraries may repeat them in
messages all the same, and people may put them into addresses.
"""

import os
import re

MASK = "***"
SHORTEST = 6
"""A shorter value is no secret worth the name, and would be found in innocent words."""
NAMES = re.compile(
    r"secret|token|passw|passphrase|credential|signature|private|authorization|auth[_-]string"
    r"|(?:api|access)[_-]?key|connection[_-]url|\wpass\b|(?:\b|_)(?:auth|pat|sig)\b",
    re.IGNORECASE,
)
"""Names of variables, keys, options and parameters that hold secrets."""
NAMED = re.compile(
    rf"""((?:{NAMES.pattern})[\w-]*\\*["']?\s*[=:]\s*)"""  # the name, as in JSON or of an option
    r"""(?:(\\*["']).*?(?:\2|$)|(?:(?:Bearer|Basic)\s+)?[^\s,;&"']+)""",  # in quotes, or one word
    re.IGNORECASE | re.MULTILINE,
)
IN_URL = re.compile(r"(?<=://)[^/:\s'\"]*(?::[^\s'\"]*)?@")
"""User and password of an address; a password may have '/', ':' and '@' in it."""

KINDS = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}|pn[ua]_\w{16,}|sk-[\w-]{20,}|xox[a-z]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+)"
)
"""Texts that are tokens by their looks: of GitHub, AWS, Prefect, OpenAI and Slack, and JWTs."""


def redacted(text: str) -> str:
    """A text without the secrets of the environment, and without credentials in addresses."""
    for name, value in os.environ.items():
        if NAMES.search(name) and len(value) >= SHORTEST:
            text = text.replace(value, MASK)
    return NAMED.sub(rf"\1\2{MASK}\2", KINDS.sub(MASK, IN_URL.sub(f"{MASK}@", text)))
