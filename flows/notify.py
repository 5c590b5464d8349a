"""Telling people of a night: by a command of theirs, or by a notification block of Prefect."""

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.server import user_api_url
from pipeline.errors import StudyError
from pipeline.regression.verdict import Verdict
from pipeline.secrets import redacted

TIMEOUT = 60.0

Say = Callable[[str], None]


def check_notification(command: str | None, block: str | None) -> None:
    """See that a command can be taken apart, and that there is a server to have a block.

    Raises:
        StudyError: if not.
    """
    if block and not user_api_url():
        raise StudyError(f"--notify-block {block}: needs a Prefect server; set PREFECT_API_URL")
    try:
        if command is None or shlex.split(command):
            return
        reason = "it is empty"
    except ValueError as error:
        reason = str(error)
    raise StudyError(f"--notify {command}: not a command: {reason}")


def notify(verdict: Verdict, file: Path, command: str | None, block: str | None, say: Say) -> None:
    """Tell of a night that has alarms or no verdict; what fails is said, and ends nothing.

    Args:
        verdict: the verdict.
        file: verdict.json.
        command: a command of the user's; it gets the file's path as its last argument, and the
            JSON on its standard input.
        block: the slug of a notification block on the Prefect server, as `slack-webhook/nights`.
        say: where to say what has failed.
    """
    if verdict.outcome not in ("alarms", "no-verdict"):
        return
    if command:
        _run(command, verdict, file, say)
    if block:
        _send(block, verdict, file, say)


def _run(command: str, verdict: Verdict, file: Path, say: Say) -> None:
    try:
        result = subprocess.run(
            [*shlex.split(command), str(file)],
            input=verdict.text(),
            text=True,
            stdout=subprocess.DEVNULL,  # no pipe, whose end would be waited for
            timeout=TIMEOUT,
            check=False,
        )
        trouble = f"exit status {result.returncode}" if result.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        trouble = " ".join(str(error).split())
    if trouble:
        say(f"the notification has failed: --notify {redacted(command)}: {redacted(trouble)}")


def _send(block: str, verdict: Verdict, file: Path, say: Say) -> None:
    from prefect.blocks.abstract import NotificationBlock
    from prefect.blocks.core import Block

    try:
        found: Any = Block.load(block)
        if not isinstance(found, NotificationBlock):
            raise TypeError(f"a {type(found).__name__}, not a notification block")
        send: Any = found.notify
        with found.raise_on_failure():
            send(f"{verdict.headline}\n{file}", subject=f"meanfield: {verdict.study}")
    except Exception as error:  # noqa: BLE001 - whatever ails it, the night is judged and kept
        reason = " ".join(str(error).split())[:200]
        say(f"the notification has failed: --notify-block {block}: {redacted(reason)}")
