"""What a step of a study is: the keys it depends on, the variables it makes, and how.

A step is added by one file that makes one object of this shape out of a study's traits, and its
registration in ``pipeline/steps/__init__.py``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipeline.axes import training_key
from pipeline.case import Case
from pipeline.settings import Training

Outputs = Mapping[str, np.ndarray | float]
Poll = Callable[[], None]


@dataclass(frozen=True)
class Traits:
    """What of a study decides which keys and which variables its steps have.

    Attributes:
        steps: the names of its steps.
        dimension: of the space that the particles live in.
        target: whether it gives a target law on the line.
        gammas: the weights of the control cost that it gives, gamma or gamma_w and gamma_b.
        microscopic: whether controls are trained on samples.
        axes: the keys that its axes vary.
        choices: the values that it gives to discretization, optimizer and loss.
    """

    steps: tuple[str, ...]
    dimension: int
    target: bool = False
    gammas: tuple[str, ...] = ()
    microscopic: bool = False
    axes: frozenset[str] = frozenset()
    choices: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def control_keys(self) -> frozenset[str]:
        """The keys that the controls of later steps depend on."""
        return training_keys(self) if "train" in self.steps else frozenset({"controls"})


ONLY_WITH: Mapping[str, tuple[str, str]] = {
    "domain": ("discretization", "eulerian"),
    "training_cells": ("discretization", "eulerian"),
    "training_particles": ("discretization", "lagrangian"),
    "steps_per_interval": ("discretization", "lagrangian"),
    "integrator": ("discretization", "lagrangian"),
    "initial_step": ("optimizer", "armijo"),
    "armijo_constant": ("optimizer", "armijo"),
    "max_backtracking": ("optimizer", "armijo"),
}
"""Keys that training uses with one method only: the setting that chooses it, and its value."""


def training_keys(traits: Traits) -> frozenset[str]:
    """The keys that trained controls depend on, with the methods that the study chooses."""
    own = {training_key(name) for name in Training.model_fields}
    keys = {"activation", "horizon", "initial", "target", "loss", *traits.gammas, *own, *ONLY_WITH}
    if traits.microscopic:
        keys |= {"seed", "sampling"}
    if traits.choices.get("loss") == frozenset({"paired"}):  # its samples are rows
        keys.discard("sampling")
    for key, (setting, method) in ONLY_WITH.items():
        if method not in traits.choices.get(setting, {method}):
            keys.discard(key)
    return frozenset(keys)


INNER_DIMENSIONS = (
    "snapshot",
    "x",
    "time",
    "iteration",
    "norm",
    "component",
    "other_component",
)
"""The dimensions of variables that are no axes of a study."""


@dataclass(frozen=True)
class Variable:
    """One variable of a table.

    Attributes:
        name: its name in the store.
        long_name: what it is, in words.
        dims: its dimensions after those of the axes.
        units: "1" unless it has some.
        per: the key on whose value its length depends, such as "cells"; such variables (fields)
            live in a group for each value.
        padded: whether NaN is a value like others: where nothing is known, or behind the end.
        flags: for a variable of whole numbers that stand for words: the words, for 0, 1, ...
        reproducible: False for what may differ between two equal runs (times).
    """

    name: str
    long_name: str
    dims: tuple[str, ...] = ("snapshot",)
    units: str = "1"
    per: str = ""
    padded: bool = False
    flags: tuple[str, ...] = ()
    reproducible: bool = True


class Upstream(Protocol):
    """Where a table finds the results of earlier steps."""

    def limit_field(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (cells,) and density (snapshots, cells) of the limit at the point.

        Raises:
            UpstreamError: if that point has none.
        """


@dataclass(frozen=True)
class Table:
    """Variables that share their axes and one status.

    Attributes:
        status: the name of the status variable.
        steps: the steps whose axes it has; its own step first.
        variables: what it holds.
        evaluate: outputs at a point from the step's work there; polled for timeouts.
    """

    status: str
    steps: tuple[str, ...]
    variables: tuple[Variable, ...]
    evaluate: Callable[[Any, Case, Upstream, Poll], Outputs]


@dataclass(frozen=True)
class Step:
    """A stage of a study, as that study needs it.

    Attributes:
        name: its name, and its group in the store.
        keys: the settings that its results depend on.
        tables: what it makes; the first is computed at every point of the step, the others
            have further axes of other steps.
        work: the expensive computation at a point that all its tables share; polled for timeouts.
        cost: nominal seconds of one core at a point, for planning and for sharing out work.
        max_dimension: of the space in which it can work.
        memory: bytes that a point takes at most; None if that is not known.
        prepare: what a process does before it computes points, every time; not counted as their
            time.
    """

    name: str
    keys: frozenset[str]
    tables: tuple[Table, ...]
    work: Callable[[Case, Poll], Any]
    cost: Callable[[Case], float]
    max_dimension: float = math.inf
    memory: Callable[[Case], float] | None = None
    prepare: Callable[[], None] = lambda: None

    def peak_bytes(self, case: Case) -> int | None:
        """The memory that a point takes at most beside what its worker holds anyway.

        None if that is not known.
        """
        return None if self.memory is None else math.ceil(self.memory(case))

    def tables_in(self, steps: tuple[str, ...]) -> tuple[Table, ...]:
        """The tables that a study with these steps has."""
        return tuple(t for t in self.tables if set(t.steps) <= set(steps))


WALL_SECONDS = Variable(
    "wall_seconds", "computing time of the point", dims=(), units="s", reproducible=False
)

TO_TARGET = Variable("w1_to_target", "Wasserstein-1 distance to the target law")
TO_TARGET_AT_THE_END = Variable(
    "w1_to_target", "Wasserstein-1 distance of the final law to the target law", (), padded=True
)
