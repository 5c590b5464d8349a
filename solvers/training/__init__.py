"""Training of the controls: optimal control of the mean-field equation and of its particles.

A :class:`TrainingProblem` is discretised (:class:`EulerianDiscretization`, as published, or
:class:`LagrangianDiscretization`) and minimised by :func:`train` with an optimiser
(:class:`Armijo`, the published method, or :class:`Lbfgs`).
"""

from solvers.training.armijo import Armijo
from solvers.training.discretization import Discretization, FinalState
from solvers.training.driver import train
from solvers.training.eulerian import EulerianDiscretization, hull_domain
from solvers.training.grid import ControlGrid
from solvers.training.lagrangian import LagrangianDiscretization
from solvers.training.lbfgs import Lbfgs
from solvers.training.linear_optimum import LinearOptimum, exact_optimum, linear_optimum
from solvers.training.losses import L2, LOSSES, W2, Energy, Loss, Paired, Quadratic, loss_from
from solvers.training.nodes import Nodes
from solvers.training.objective import Optimizer
from solvers.training.problem import TrainingProblem
from solvers.training.result import StopReason, TrainingResult
from solvers.training.starts import MultistartResult, multistart

__all__ = [
    "L2",
    "LOSSES",
    "W2",
    "Armijo",
    "ControlGrid",
    "Discretization",
    "Energy",
    "EulerianDiscretization",
    "FinalState",
    "LagrangianDiscretization",
    "Lbfgs",
    "LinearOptimum",
    "Loss",
    "MultistartResult",
    "Nodes",
    "Optimizer",
    "Paired",
    "Quadratic",
    "StopReason",
    "TrainingProblem",
    "TrainingResult",
    "exact_optimum",
    "hull_domain",
    "linear_optimum",
    "loss_from",
    "multistart",
    "train",
]
