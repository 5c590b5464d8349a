"""What has happened so far in a run: counts, core seconds, failures; shown and logged."""

import contextlib
import hashlib
import io
import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipeline.axes import label
from pipeline.compute import Failure, Token
from pipeline.files import write_atomically
from pipeline.place import Place
from pipeline.secrets import redacted

LINE_INTERVAL = 30.0
LIVE_INTERVAL = 0.2
MAX_FAILURE_LOGS = 1000
MAX_LOG_NAME = 160


class Monitor:
    """Collects the tokens of finished shards, from any thread, and tells how far the run is.

    On a terminal that is one live line, elsewhere a line every 30 seconds.

    Args:
        logs: the folder for the logs of failed points.
        store: where the store is, for the reproduce commands.
        stream: where progress goes.
    """

    def __init__(self, logs: Path, store: Place, stream: TextIO | None = None) -> None:
        self.stop = threading.Event()
        self.computed = 0
        self.core_seconds = 0.0
        self._logs = logs
        self._store = store.address
        self._stream = stream or sys.stderr or io.StringIO()
        self._live = self._stream.isatty()
        self._lock = threading.RLock()
        self._stage = ""
        self._total = self._done = self._failed = 0
        self._cost_total = self._cost_done = 0.0
        self._busy_seconds = 0.0
        self.workers = 1
        self._started = self._shown = time.monotonic()
        self._logged = 0

    @contextlib.contextmanager
    def stage(self, name: str, points: int, cost: float, workers: int) -> Iterator[None]:
        """Show progress of a stage with so many points of so much nominal cost."""
        with self._lock:
            self._stage, self._total, self._cost_total = name, points, cost
            self._done = self._failed = 0
            self._cost_done = self._busy_seconds = 0.0
            self.workers = workers
            self._started = self._shown = time.monotonic()
        ticker = threading.Event()
        thread = threading.Thread(target=self._tick, args=(ticker,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ticker.set()
            thread.join()
            self._show(last=True)

    @property
    def share(self) -> float:
        """How much of the stage is done, from 0 to 1, by its cost."""
        with self._lock:
            return min(self._cost_done / self._cost_total, 1.0) if self._cost_total else 1.0

    def say(self, text: str) -> None:
        """Print one line beside the progress."""
        with self._lock:
            if self._live:
                self._stream.write("\r\x1b[K")
            self._stream.write(redacted(text) + "\n")
            self._stream.flush()

    def finished(self, tokens: Sequence[Token], cost: float) -> None:
        """Count a bundle's shards and log its failures."""
        with self._lock:
            for token in tokens:
                self.computed += token.points
                self.core_seconds += token.seconds
                self._busy_seconds += token.seconds
                self._done += token.points - token.failed
                self._failed += token.failed
                for failure in token.failures:
                    self._log(failure)
            self._cost_done += cost

    def _log(self, failure: Failure) -> None:
        """Leave a failed point's parameters, traceback and one command that reproduces it."""
        values = {key: label(value) for key, value in failure.values.items()}
        where = " ".join(f"{key}={value}" for key, value in values.items())
        self.say(f"failed ({failure.status.meaning}): {failure.step} {where}: {failure.reason}")
        self._logged += 1
        if self._logged > MAX_FAILURE_LOGS:
            return
        name = "-".join([failure.step, *(f"{k}={v}" for k, v in values.items())])
        safe = "".join(c if c.isalnum() or c in "-=._" else "_" for c in name)
        if safe != name or len(safe) > MAX_LOG_NAME:  # what is cut or replaced must not collide
            safe = f"{safe[:MAX_LOG_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        command = shlex.join(
            ["meanfield", "point", self._store, failure.step]
            + [f"{key}={value}" for key, value in values.items()]
        )
        text = (
            f"step: {failure.step}\nstatus: {int(failure.status)} {failure.status.meaning}\n"
            f"parameters: {json.dumps(values)}\nreason: {failure.reason}\nreproduce: {command}\n\n"
            f"{failure.trace}"
        )
        with contextlib.suppress(OSError):
            self._logs.mkdir(parents=True, exist_ok=True)
            write_atomically(self._logs / f"{safe}.txt", redacted(text))

    def _tick(self, ticker: threading.Event) -> None:
        while not ticker.wait(LIVE_INTERVAL):
            self._show()

    def _show(self, last: bool = False) -> None:
        with self._lock:
            now = time.monotonic()
            if self._live:
                self._stream.write("\r\x1b[K" + self._line(now) + ("\n" if last else ""))
                self._stream.flush()
            elif last or now - self._shown >= LINE_INTERVAL:
                self._shown = now
                self.say(self._line(now))

    def _line(self, now: float) -> str:
        elapsed = now - self._started
        finished = self._done + self._failed
        rate = finished / elapsed if elapsed > 0 else 0.0
        text = f"{self._stage}: {self._done} done / {self._failed} failed / {self._total} points"
        text += f", {rate:.1f} points/s"
        if not self.workers and finished < self._total:
            return f"{text}, waiting for workers"
        if finished >= self._total or self._cost_done <= 0:
            return f"{text}, {elapsed:.1f} s"
        left = max(self._cost_total - self._cost_done, 0.0)
        left = 0.0 if left < 1e-9 * self._cost_total else left  # what rounding leaves is nothing
        core_seconds = left * self._busy_seconds / self._cost_done
        eta = core_seconds / self.workers
        return f"{text}, {core_seconds / 3600:.3g} core-hours left, ETA {duration(eta)}"


def duration(seconds: float) -> str:
    """A time span as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
    )
