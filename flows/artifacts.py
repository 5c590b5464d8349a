"""What a run shows beside its task runs on a Prefect server: rates, failures, report, progress.

Keys are stable per study and store, so that the server keeps the history of each artifact. Nothing
here may end a run: a server that is away costs what it would have shown.
"""

import contextlib
import contextvars
import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from pipeline.analysis.text import rate_rows
from pipeline.report.facts import Failed, failures_of
from pipeline.session import Session, Summary

RENEWAL_SECONDS = 5.0
LISTED_FAILURES = 50
CELL_WIDTH = 300


def artifact_key(kind: str, session: Session) -> str:
    """The key of an artifact: its kind, the study, and the store's address by its hash."""
    store = hashlib.sha256(session.places.store.address.encode()).hexdigest()[:8]
    return f"{kind}-{slug(session.study.name)}-{store}"


def slug(name: str) -> str:
    """A study's name as the key of an artifact may hold it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def report_folder(session: Session) -> Path:
    """Where the report of a run is, as `meanfield report` writes it."""
    return session.places.folder / "report"


def publish(session: Session, summary: Summary) -> None:
    """Show what a run has found: rates, failures, and the report if there is one."""
    if "particles" in session.study.header.steps and not session.monitor.stop.is_set():
        publish_rates(session)
    publish_failures(session, summary)
    page = report_folder(session) / "index.html"
    if page.is_file():
        publish_report(session, page)


def publish_rates(session: Session) -> None:
    """Show the rates as a table."""
    header, rows = rate_rows(session.store)
    create_table_artifact(
        table=[dict(zip(header, row, strict=True)) for row in rows],
        key=artifact_key("rates", session),
        description=f"Convergence in M of the study {session.study.name}",
    )


def publish_failures(session: Session, summary: Summary) -> None:
    """Show which points failed, why, and the command that recomputes each."""
    total = sum(count.failures for count in summary.points.values())
    place = session.places.store
    found = failures_of(place.open_tree(), place, session.places.logs) if total else ([], 0)
    create_markdown_artifact(
        failures_page(session, total, *found),
        key=artifact_key("failures", session),
        description=f"{total} failed points of the study {session.study.name}",
    )


def failures_page(
    session: Session, total: int, failures: Sequence[Failed], left_out: int = 0
) -> str:
    """The failed points of a store as a page of Markdown."""
    lines = [f"# {session.study.name}: {total} failed points", ""]
    lines.append(f"Store `{session.places.store}`")
    if failures:
        lines += ["", "| point | status | reason | reproduce |", "|---|---|---|---|"]
        for failed in failures[:LISTED_FAILURES]:
            cells = (failed.point, failed.status, failed.reason, f"`{failed.command}`")
            lines.append(f"| {' | '.join(map(cell, cells))} |")
    more = left_out + max(0, len(failures) - LISTED_FAILURES)
    if more:
        lines += ["", f"{more} more; the logs of this run are in `{session.places.logs}`."]
    if total:
        lines += ["", f"Compute them again: `meanfield retry {session.places.store} --failed`"]
    return "\n".join(lines) + "\n"


def publish_report(session: Session, page: Path) -> None:
    """Show where the report is."""
    create_link_artifact(
        link=page.resolve().as_uri(),
        link_text=f"report of {session.study.name}",
        key=artifact_key("report", session),
        description=f"The report of {session.places.store}: {page.resolve()}",
    )


@contextlib.contextmanager
def progress(session: Session, step: str) -> Iterator[None]:
    """Show how far a step is, renewed every few seconds as long as the context lasts.

    A thread of its own talks to the server, so that no bundle waits for it.
    """
    ended = threading.Event()
    context = contextvars.copy_context()  # it says which flow run the artifact belongs to
    thread = threading.Thread(target=context.run, args=(_renew, session, step, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(RENEWAL_SECONDS)


def _renew(session: Session, step: str, ended: threading.Event) -> None:
    key, text = artifact_key(f"progress-{step}", session), f"{session.study.name}: {step}"
    artifact: Any = None
    last = False
    while True:
        percent = round(100.0 * session.monitor.share, 1)
        with contextlib.suppress(Exception):  # whatever ails the server, the run goes on
            if artifact is None:
                artifact = create_progress_artifact(percent, key=key, description=text)
            else:
                update_progress_artifact(artifact, percent)
        if last:
            return
        last = ended.wait(RENEWAL_SECONDS)


def cell(text: str) -> str:
    """A text that stays within one cell of a Markdown table."""
    short = text if len(text) <= CELL_WIDTH or text.startswith("`") else text[:CELL_WIDTH] + " …"
    return " ".join(short.replace("|", "\\|").split())
