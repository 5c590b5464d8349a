"""What starts the runs of deployments, and has them stop cleanly when it is told to end itself."""

import asyncio
from typing import Any

from prefect.runner import Runner


class GentleRunner(Runner):
    """Prefect's runner; told to end, it waits for the runs in flight, which stop cleanly."""

    def handle_sigterm(self, *_arguments: Any, **_more: Any) -> None:
        """Stop; Prefect's own leaves at once: runs would be killed, and stay Running for ever."""
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(lambda: loop.create_task(self.astop()))

    async def cancel_all(self) -> None:
        """Cancel the runs in flight, but for those that only have to end their process.

        Prefect's own would replace their end, Completed say, by Cancelled.
        """
        for key in self._process_manager.flow_run_ids():
            try:
                run = await self._client.read_flow_run(key)
                if not (run.state and run.state.is_final()):
                    await self._cancellation_manager.cancel(run, "Runner is shutting down.")
            except Exception:  # Prefect's client raises all kinds, and each run counts
                self._logger.exception("The server does not answer; run '%s' is left", key)
