"""The steps that a study may have, in the order in which they run."""

from collections.abc import Callable

from pipeline.steps.base import Step, Traits
from pipeline.steps.limit import limit
from pipeline.steps.particles import particles

STEPS: dict[str, Callable[[Traits], Step]] = {"limit": limit, "particles": particles}
"""What makes each step out of a study's traits."""
