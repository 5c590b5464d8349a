"""Losses of the final law: one file each, behind one interface (:class:`Loss`)."""

from collections.abc import Callable

from numpy.typing import ArrayLike

from solvers.distributions import Distribution, VectorDistribution
from solvers.errors import InputError
from solvers.training.losses.base import Loss, TerminalCost
from solvers.training.losses.energy import Energy
from solvers.training.losses.l2 import L2
from solvers.training.losses.paired import Paired
from solvers.training.losses.quadratic import Quadratic
from solvers.training.losses.w2 import W2

__all__ = [
    "L2",
    "LOSSES",
    "W2",
    "Energy",
    "Loss",
    "Paired",
    "Quadratic",
    "TerminalCost",
    "loss_from",
]

LOSSES: dict[str, Callable[..., Loss]] = {
    "quadratic": Quadratic.to,
    "paired": Paired,
    "w2": W2,
    "energy": Energy,
    "l2": L2,
}


def loss_from(
    name: str,
    target: Distribution | VectorDistribution | None = None,
    pairs: ArrayLike | None = None,
) -> Loss:
    """Return the loss called `name`.

    Args:
        name: "quadratic", "paired", "w2", "energy" or "l2".
        target: The target law; "paired" does without.
        pairs: The target y_i of each sample, for "paired" alone, shape (M, d) or (M,).

    Raises:
        InputError: if there is no such loss or what it needs is missing.
    """
    if name not in LOSSES:
        raise InputError(f"unknown loss {name!r}; allowed: {', '.join(LOSSES)}")
    if name == "paired":
        if pairs is None:
            raise InputError("loss 'paired' needs paired data: one target y_i for each sample")
        return Paired(pairs)
    if target is None:
        raise InputError(f"loss {name!r} needs a target")
    return LOSSES[name](target)
