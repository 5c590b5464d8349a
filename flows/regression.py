"""The Prefect flow of regression runs: one night as a flow run, its verdict as state and artifact.

A night that found a regression ends as Failed with the name "Regression", one that the
infrastructure kept from its end as Failed with the name "No verdict", so that people and Prefect's
automations can tell them apart. A night that finds another one at work on the history is Skipped.
"""

import contextvars
from argparse import Namespace
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Failed

from flows.artifacts import cell, slug
from flows.notify import notify as tell
from flows.regress import Written, order_of, run_and_write
from flows.serve import cluster_overrides
from flows.server import check_server, driver_identity, mark_crashed, prefect_settings, user_api_url
from flows.sweep import seconds
from pipeline.regression.findings import Finding, place
from pipeline.regression.verdict import Verdict, step_text
from solvers.errors import MeanfieldError

LISTED = 100

finished: contextvars.ContextVar[list[Written | MeanfieldError]] = contextvars.ContextVar(
    "finished_nights"
)
"""Where the flow leaves what it has written for the command line that called it."""


@flow(name="regression", validate_parameters=False)
def regression(
    study: str,
    baseline: str | None = None,
    history: str | None = None,
    folder: str | None = None,
    overrides: tuple[str, ...] = (),
    cluster: str | None = None,
    workers: int | None = None,
    max_time: str | None = None,
    notify: str | None = None,
    notify_block: str | None = None,
    driver: str = "",
) -> dict[str, object] | State[Any]:
    """Run a study, compare its numbers with a baseline, judge and keep them.

    Args:
        study: path of a study file where the flow runs, the name of a study that ships, or a
            finished store.
        baseline: the name of a baseline, or a store; the only baseline that there is by default.
        history: path or URL of the history; `runs/<name>/history` by default.
        folder: where the verdict and the page go; `runs/<name>/regression/<night>` by default.
        overrides: settings that replace the file's, each as `section.key=value`.
        cluster: where workers run: local, slurm, kubernetes, or the address of a Dask scheduler; as
            the study says by default.
        workers: how many workers; one per core of this machine by default.
        max_time: stop after this time, as `90s`, `30m` or `2h`; the night has no verdict then.
        notify: a command that is run on alarms, with the path of verdict.json as its argument.
        notify_block: the slug of a notification block, as `slack-webhook/nights`.
        driver: set by the command line; leave it empty.

    Returns:
        the verdict, as `--json` prints it, of a night without alarms.
    """
    options = Namespace(
        target=study, baseline=baseline, history=history, folder=folder, overrides=overrides,
        cluster=cluster, workers=workers, max_time=seconds(max_time), notify=notify,
        notify_block=notify_block,
    )  # fmt: skip
    try:
        order = order_of(options)
        if not driver and (others := order.history.running()):
            text = f"another night is at work: {', '.join(others)}; nothing was done"
            return Cancelled(name="Skipped", message=text)
        written = night(options)
    except MeanfieldError as error:
        _leave(error)
        return Failed(name="No verdict", message=str(error))
    _leave(written)
    publish(written)
    tell(written.verdict, written.file, notify, notify_block, partial(print, flush=True))
    return _state(written.verdict)


def run_flow(options: Namespace) -> Written:
    """Run a night of the command line as a flow on the user's server.

    Raises:
        MeanfieldError: what kept the night from its end.
        ServerError: if the server does not answer.
    """
    url = user_api_url() or ""
    prefect_settings(url)
    check_server(url)
    mark_crashed("regression")
    found: list[Written | MeanfieldError] = []
    finished.set(found)
    state: Any = regression(
        study=options.target,
        baseline=options.baseline,
        history=options.history,
        folder=options.folder,
        overrides=(*options.overrides, *cluster_overrides(options)),
        cluster=options.cluster,
        workers=options.workers,
        max_time=options.max_time and f"{options.max_time:g}s",
        notify=options.notify,
        notify_block=options.notify_block,
        driver=driver_identity(),
        return_state=True,
    )
    if not found:
        state.result()  # what kept the flow from its end
    if isinstance(found[0], MeanfieldError):
        raise found[0]
    return found[0]


@task(name="night", cache_policy=NO_CACHE, persist_result=False)
def night(options: Namespace) -> Written:
    """Run, judge and keep a night."""
    return run_and_write(options)


@task(name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(written: Written) -> None:
    """Show the verdict and the page as artifacts."""
    verdict, page = written.verdict, written.folder / "index.html"
    name = slug(verdict.study)
    try:
        create_markdown_artifact(
            markdown(verdict), key=f"verdict-{name}", description=verdict.headline
        )
        create_link_artifact(
            link=page.resolve().as_uri(),
            link_text=f"history of {verdict.study}",
            key=f"history-{name}",
            description=f"The page of the night {verdict.night}: {page.resolve()}",
        )
    except Exception as error:  # noqa: BLE001 - whatever ails the server, the night is kept
        reason = type(error).__name__
        print(f"the Prefect server has not taken the artifacts of this night ({reason})")


def markdown(verdict: Verdict) -> str:
    """The verdict as a page of Markdown, alarms first."""
    lines = [f"# {verdict.headline}", "", f"Night {verdict.night}, history `{verdict.history}`"]
    shown = [finding for finding in verdict.findings if finding.outcome != "agrees"]
    if shown:
        lines += ["", "| outcome | number | baseline | tonight | reason |", "|---|---|---|---|---|"]
        lines += [_row(finding) for finding in shown[:LISTED]]
    if len(shown) > LISTED:
        lines += ["", f"{len(shown) - LISTED} more in verdict.json"]
    lines += ["", *(f"* new: {cell(step_text(step))}" for step in verdict.new_steps)]
    lines += [f"* {key}: {cell(old)} → {cell(new)}" for key, (old, new) in verdict.changed.items()]
    lines += [f"* {cell(note)}" for note in verdict.notes]
    return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    number = f"{finding.study} {finding.variable}{place(finding.at)}"
    numbers = (f"{finding.old:.6g}", f"{finding.new:.6g}")
    return f"| {' | '.join(map(cell, (finding.outcome, number, *numbers, finding.reason)))} |"


def _state(verdict: Verdict) -> dict[str, object] | State[Any]:
    """What the server is told of a night."""
    if verdict.outcome == "no-verdict":
        return Failed(name="No verdict", message=verdict.reason)
    if verdict.outcome == "alarms":
        return Failed(name="Regression", message=verdict.headline)
    return verdict.as_json()


def _leave(what: Written | MeanfieldError) -> None:
    if (found := finished.get(None)) is not None:
        found.append(what)
