"""The steps that a study may have, in the order in which they run."""

from pipeline.steps.base import Step
from pipeline.steps.limit import LIMIT
from pipeline.steps.particles import PARTICLES

STEPS: dict[str, Step] = {step.name: step for step in (LIMIT, PARTICLES)}
