"""What can go wrong with a study, a store or a comparison, as far as the user must act on it.

Every message is one line that says where, what, and what is allowed; the command line prints it
and exits with status 2.
"""

from solvers.errors import MeanfieldError


class StudyError(MeanfieldError, ValueError):
    """A study file, an override or a setting is wrong."""


class ClusterError(MeanfieldError, RuntimeError):
    """Workers are missing, or are not fit for the work."""


class StoreError(MeanfieldError, OSError):
    """A store cannot be created, opened, read or written, or belongs to another study."""


class StoreChangedError(StoreError):
    """A store has grown, or been replaced, under a run: what that would write is out of date."""


class UnreachableError(StoreError):
    """A store, or the server that keeps it, does not answer."""


class FigureError(MeanfieldError, ValueError):
    """A figure has nothing to show: the store lacks what it is made of."""
