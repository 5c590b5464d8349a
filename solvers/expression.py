"""Formulas in t, parsed and evaluated without running Python code.

The text is parsed by Python's own parser (module `ast`, mode "eval"), every node is checked against
a list of what is allowed, and the tree is turned into a short postfix program that NumPy evaluates
in double precision. Nothing is compiled or executed, and all arithmetic is float64, so no formula
can run code or grow large integers (``9**9**9`` is an overflow, not a wait).
"""

import ast
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from solvers.arrays import FloatArray
from solvers.errors import ControlError

MAX_LENGTH = 1000
MAX_DEPTH = 100

CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name)
    for name in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs")
}
FUNCTIONS_OF_TWO: dict[str, Callable[..., Any]] = {"min": np.minimum, "max": np.maximum}
BINARY: dict[type[ast.operator], tuple[str, Callable[..., Any]]] = {
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", np.divide),
    ast.Pow: ("**", np.power),
}
OPERATIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    **{symbol: (2, function) for symbol, function in BINARY.values()},
    **{name: (1, function) for name, function in FUNCTIONS.items()},
    **{name: (2, function) for name, function in FUNCTIONS_OF_TWO.items()},
    "neg": (1, np.negative),
}
ALLOWED = "allowed are numbers, t, pi, e, + - * / **, parentheses and " + ", ".join(
    [*FUNCTIONS, *FUNCTIONS_OF_TWO]
)

Instruction: TypeAlias = float | str
Program: TypeAlias = tuple[Instruction, ...]


def parse(text: object) -> Program:
    """Return the postfix program of a formula: numbers, "t" and names of operations.

    Raises:
        ControlError: if the formula is not valid; it names the part and what is allowed.
    """
    if not isinstance(text, str) or not text.strip():
        raise ControlError(f"an expression in t is needed, not {text!r}; {ALLOWED}")
    if len(text) > MAX_LENGTH:
        raise ControlError(f"expression of {len(text)} characters; at most {MAX_LENGTH} allowed")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        reason = getattr(problem, "msg", None) or "it is nested too deeply or holds a bad character"
        raise ControlError(f"expression {_short(text)}: {reason}; {ALLOWED}") from None
    program: list[Instruction] = []
    _emit(tree.body, text, 0, program)
    return tuple(program)


def evaluate(program: Program, t: FloatArray) -> FloatArray:
    """Return the values at the times `t`; NaN or infinite where the formula is not defined."""
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for item in program:
            if isinstance(item, float):
                stack.append(np.full(t.shape, item))
            elif item == "t":
                stack.append(t)
            else:
                arity, function = OPERATIONS[item]
                operands = stack[-arity:]
                del stack[-arity:]
                stack.append(function(*operands))
    return np.array(stack.pop(), dtype=np.float64)


def _emit(node: ast.expr, text: str, depth: int, program: list[Instruction]) -> None:
    """Append the program of one node, operands first."""
    if depth > MAX_DEPTH:
        raise ControlError(f"expression {_short(text)}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, ast.Constant):
        program.append(_number(node, text))
    elif isinstance(node, ast.Name):
        program.append(_name(node, text))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _emit(node.operand, text, depth + 1, program)
        if isinstance(node.op, ast.USub):
            program.append("neg")
    elif isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        _emit(node.left, text, depth + 1, program)
        _emit(node.right, text, depth + 1, program)
        program.append(BINARY[type(node.op)][0])
    elif isinstance(node, ast.Call):
        _call(node, text, depth, program)
    else:
        power = isinstance(getattr(node, "op", None), ast.BitXor)
        hint = ", powers are written **" if power else ""
        raise ControlError(_refusal(text, f"{_source(node, text)} is not allowed{hint}"))


def _number(node: ast.Constant, text: str) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
        raise ControlError(_refusal(text, f"{_source(node, text)} is not a real number"))
    try:
        value = float(node.value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ControlError(_refusal(text, f"{_source(node, text)} is too large"))
    return value


def _name(node: ast.Name, text: str) -> Instruction:
    if node.id == "t":
        return "t"
    if node.id in CONSTANTS:
        return CONSTANTS[node.id]
    needs = " needs arguments in parentheses" if node.id in OPERATIONS else " is not known"
    raise ControlError(_refusal(text, f"the name {node.id!r}{needs}"))


def _call(node: ast.Call, text: str, depth: int, program: list[Instruction]) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if name is None or (name not in FUNCTIONS and name not in FUNCTIONS_OF_TWO):
        raise ControlError(_refusal(text, f"the function {_source(node.func, text)} is not known"))
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise ControlError(_refusal(text, f"{name} takes plain arguments only"))
    arity = 1 if name in FUNCTIONS else 2
    if len(node.args) != arity:
        message = f"{name} takes {arity} argument(s), not {len(node.args)}"
        raise ControlError(_refusal(text, message))
    for argument in node.args:
        _emit(argument, text, depth + 1, program)
    program.append(name)


def _refusal(text: str, problem: str) -> str:
    return f"expression {_short(text)}: {problem}; {ALLOWED}"


def _source(node: ast.expr, text: str) -> str:
    return _short(ast.get_source_segment(text.strip(), node) or type(node).__name__)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
