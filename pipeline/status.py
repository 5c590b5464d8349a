"""What became of a point."""

from enum import IntEnum

from solvers.errors import CflError, MassLostError, NonFiniteError, PointTimeoutError


class Status(IntEnum):
    """The status of a point in the store; written after the point's data."""

    PENDING = 0
    DONE = 1
    CFL = 2
    NON_FINITE = 3
    MASS_LOST = 4
    NOT_CONVERGED = 5
    TIMEOUT = 6
    OUT_OF_MEMORY = 7
    ERROR = 8
    UPSTREAM = 9

    @property
    def meaning(self) -> str:
        """The status as CF flag meanings, tables and JSON spell it."""
        return self.name.lower().replace("_", "-")


KEEPS_DATA = (Status.DONE, Status.NOT_CONVERGED)
"""The statuses with which a point has numbers that later steps may use."""


def redone(which: str) -> frozenset[int]:
    """The statuses whose points a retry computes again.

    Args:
        which: none; failed, by lack of time or memory, by an error, or upstream; or all failures.
    """
    lowest = {"failed": Status.TIMEOUT, "all": Status.CFL}.get(which)
    return frozenset(int(s) for s in Status if lowest is not None and s >= lowest)


class UpstreamError(Exception):
    """A point that this one needs has no numbers."""


def status_of(error: BaseException) -> Status:
    """The status that an exception of a solver gives its point."""
    kinds: dict[type[BaseException], Status] = {
        CflError: Status.CFL,
        NonFiniteError: Status.NON_FINITE,
        MassLostError: Status.MASS_LOST,
        PointTimeoutError: Status.TIMEOUT,
        MemoryError: Status.OUT_OF_MEMORY,
        UpstreamError: Status.UPSTREAM,
    }
    return next((s for kind, s in kinds.items() if isinstance(error, kind)), Status.ERROR)
