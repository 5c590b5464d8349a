"""Imported by the fork server: packages that a worker needs, and kernels that all studies use."""

import pipeline.compute  # noqa: F401
from solvers.warm import warm

warm(training=False)
