"""Serving studies: a deployment per study on a Prefect server, and the process that runs them.

A deployment can be started in the server's pages, by its API, or by a cron schedule; each run is a
process of its own, which the flow :func:`flows.sweep.sweep` makes a driver, or the flow
:func:`flows.regression.regression`. One run works on a store, or on a history, at a time: a second
one finds the heartbeat of the first there, and ends as Skipped.
"""

import asyncio
import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from flows.server import ServerError, check_server, prefect_settings, user_api_url
from flows.studies import study_file
from pipeline.errors import StudyError
from pipeline.secrets import redacted
from pipeline.session import run_folder
from pipeline.study import Study

TAG = "meanfield"


def serve(options: Namespace) -> int:
    """Serve a deployment for each study until the process is told to end.

    Raises:
        StudyError: if a study, the schedule or an option is wrong.
        ServerError: without a Prefect server.
    """
    parameters = _parameters_by_name(options)
    url = user_api_url()
    if not url:
        raise ServerError(
            "serve needs a Prefect server that stays: start one with `prefect server start`, and "
            "set PREFECT_API_URL to its address, http://127.0.0.1:4200/api by default"
        )
    prefect_settings(url)
    check_server(url)
    deployments = [_deployment(name, found, options) for name, found in parameters.items()]
    for deployment in deployments:
        when = f" at '{options.cron}' ({options.timezone})" if options.cron else ""
        text = f"serving {deployment.full_name}{when} on {redacted(url)}"
        print(text, file=sys.stderr, flush=True)
    _run_until_told_to_end(deployments, options.limit)
    return 0


def _run_until_told_to_end(deployments: Sequence[Any], limit: int | None) -> None:
    """Start the runs of deployments; told to end, have those in flight stop cleanly first."""
    from flows.gentle_runner import GentleRunner

    runner = GentleRunner(limit=limit)
    for deployment in deployments:
        runner.add_deployment(deployment)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


def _parameters_by_name(options: Namespace) -> dict[str, dict[str, Any]]:
    """What the flow is called with, for each study.

    Raises:
        StudyError: for a study that is wrong, one name twice, or one store for several.
    """
    _check_kind(options)
    if options.store and len(options.studies) > 1:
        raise StudyError("--store: one store for several studies; allowed: one study with --store")
    found: dict[str, dict[str, Any]] = {}
    for text in options.studies:
        file = study_file(text)
        study = Study.load(file, options.overrides)
        if study.name in found:
            raise StudyError(f"{file}: the name '{study.name}' stands for another study already")
        found[study.name] = {
            "study": str(file.resolve()),
            "overrides": [*options.overrides, *cluster_overrides(options)],
            "cluster": options.cluster,
            "workers": options.workers,
            "max_time": options.max_time and f"{options.max_time:g}s",
        } | (_of_nights(study, options) if options.regression else _of_runs(study, options))
    return found


def _check_kind(options: Namespace) -> None:
    """See that no option is given that the flow does not have.

    Raises:
        StudyError: if one is.
    """
    runs, nights = ("store",), ("baseline", "history", "notify", "notify_block")
    for name in runs if options.regression else nights:
        if getattr(options, name):
            where = "without" if options.regression else "with"
            option = f"--{name.replace('_', '-')}"
            raise StudyError(f"{option}: allowed: {option} {where} --regression")


def _of_runs(study: Study, options: Namespace) -> dict[str, Any]:
    """Parameters of the flow `sweep` alone."""
    store = run_folder(study, options.store).store.address
    return {"store": store, "retry": options.retry, "partial": options.partial}


def _of_nights(study: Study, options: Namespace) -> dict[str, Any]:
    """Parameters of the flow `regression` alone."""
    from flows.notify import check_notification
    from flows.regress import history_at

    check_notification(options.notify, options.notify_block)
    return {
        "baseline": options.baseline,
        "history": history_at(options.history, study.name).place.address,
        "folder": None,
        "notify": options.notify,
        "notify_block": options.notify_block,
    }


def cluster_overrides(options: Namespace) -> list[str]:
    """Options of the cluster, as the study would set them."""
    given = {"min": options.min, "max": options.max, "tls": options.tls and json.dumps(options.tls)}
    return [f"cluster.{key}={value}" for key, value in given.items() if value is not None]


def _deployment(name: str, parameters: Mapping[str, Any], options: Namespace) -> Any:
    """The deployment of a study, as the server will show it."""
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    served: Any
    if options.regression:
        from flows.regression import regression as served
    else:
        from flows.sweep import sweep as served
    try:
        schedule = Cron(options.cron, timezone=options.timezone) if options.cron else None
        deployment: Any = served.to_deployment(
            name,
            schedule=schedule,
            parameters=dict(parameters),
            description=f"{served.description}\n\nStudy `{parameters['study']}`",
            tags=[TAG, name],
            version=version("meanfield"),
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        given = f"--cron '{options.cron}' --timezone {options.timezone}"
        raise StudyError(f"{given}: {' '.join(str(error).split())}") from None
    return deployment
