"""The command line in a folder, on a host and with an environment of one's choice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "MEANFIELD_TEST_PLACE"


@dataclass(frozen=True)
class Place:
    """A folder to run commands in; all that descends from them has it in the environment.

    Attributes:
        folder: the folder.
        environment: variables of the commands, besides this process's.
        prefix: what stands before every command, to run it on another host.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def start(self, log: str, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python module with its output in ``<log>.out`` and its errors in ``<log>.err``.

        Files, not pipes: nobody reads them while the process lives.
        """
        with self._file(log, "out").open("w") as out, self._file(log, "err").open("w") as err:
            return subprocess.Popen(
                [*self.prefix, sys.executable, "-m", module, *arguments],
                cwd=self.folder,
                env=os.environ | dict(self.environment) | {MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def meanfield(self, *arguments: str, seconds: float = 600.0) -> tuple[int, Any, str]:
        """Run a verb to its end: exit status, what ``--json`` prints (or None), errors."""
        log = f"meanfield-{arguments[0]}"
        process = self.start(log, "flows.cli", *arguments, "--json")
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        return code, self.facts(log), self.errors(log)

    def do(self, *command: str) -> str:
        """Run a command to its end; what it prints."""
        return subprocess.run(
            [*self.prefix, *command],
            cwd=self.folder,
            env=os.environ | dict(self.environment) | {MARK: str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def facts(self, log: str) -> Any:
        """The object that a command has printed, if it has."""
        text = self._file(log, "out").read_text()
        return json.loads(text) if text else None

    def errors(self, log: str) -> str:
        """What a command has said on its standard error."""
        return self._file(log, "err").read_text()

    def _file(self, log: str, kind: str) -> Path:
        return self.folder / f"{log}.{kind}"
