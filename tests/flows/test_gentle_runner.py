"""Runs in flight when what started them is told to end."""

import asyncio
from types import SimpleNamespace
from typing import Any

from prefect.states import Completed, Running

from flows.gentle_runner import GentleRunner


def test_runs_that_have_ended_keep_their_end_and_others_are_cancelled() -> None:
    states = {"ended": Completed(), "at work": Running(), "young": None}
    cancelled = []

    async def read(key: str) -> Any:
        if key == "unknown":
            raise OSError("away")
        return SimpleNamespace(id=key, state=states[key])

    async def cancel(run: Any, _message: str) -> None:
        cancelled.append(run.id)

    runner: Any = GentleRunner()
    runner._process_manager = SimpleNamespace(flow_run_ids=lambda: ["unknown", *states])
    runner._client = SimpleNamespace(read_flow_run=read)
    runner._cancellation_manager = SimpleNamespace(cancel=cancel)
    asyncio.run(runner.cancel_all())
    assert cancelled == ["at work", "young"]
