"""The steps that a study may have, in the order in which they run."""

from collections.abc import Callable

from pipeline.steps.base import Step, Traits
from pipeline.steps.dependence import dependence
from pipeline.steps.limit import limit
from pipeline.steps.particles import particles
from pipeline.steps.train import train

STEPS: dict[str, Callable[[Traits], Step]] = {
    "train": train,
    "limit": limit,
    "particles": particles,
    "dependence": dependence,
}
"""What makes each step out of a study's traits."""
