"""The errors of the solvers: one small tree that also subclasses the builtins."""


class MeanfieldError(Exception):
    """Base of every error this product raises on purpose."""


class InputError(MeanfieldError, ValueError):
    """An argument is out of range, of the wrong shape, or unknown."""


class DistributionError(InputError):
    """A distribution's parameters or data are not valid."""


class ControlError(InputError):
    """A control cannot be read, parsed or evaluated on the whole horizon."""


class MeasureError(InputError):
    """A measure is not a probability measure, or two measures have different mass."""


class SolverError(MeanfieldError, ArithmeticError):
    """A computation failed although its input was valid."""


class CflError(SolverError):
    """The CFL condition cannot be met with a sensible number of substeps."""


class NonFiniteError(SolverError):
    """A result is NaN or infinite."""


class FlowMapError(SolverError):
    """The flow map of the particles cannot be tabulated."""


class NotOptimalError(SolverError):
    """An optimisation that must end at the optimum did not reach it."""


class MassLostError(SolverError):
    """Mass left the domain, or lay outside it from the start.

    Attributes:
        boundary: "left", "right" or "outside" (initial mass on both sides).
        amount: The mass that is missing.
    """

    def __init__(self, boundary: str, amount: float, message: str | None = None) -> None:
        """Name the boundary and the amount."""
        self.boundary = boundary
        self.amount = amount
        super().__init__(message or f"mass {amount:.3g} left the domain at its {boundary} boundary")

    def __reduce__(self) -> tuple[type["MassLostError"], tuple[str, float, str]]:
        """Keep the attributes when the error travels between processes."""
        return type(self), (self.boundary, self.amount, str(self))


class PointTimeoutError(MeanfieldError, TimeoutError):
    """A point ran longer than its time limit."""
