"""Imported by the fork server: the packages and kernels that a worker needs."""

import pipeline.compute  # noqa: F401
from solvers.warm import warm

warm()
