import contextlib
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.control_files import read_controls
from solvers.controls import Controls, PiecewiseLinearControl, control_from
from solvers.errors import ControlError, InputError
from solvers.time_grid import time_grid

T = np.linspace(0.0, 1.0, 11)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("exp(t) - 1", np.exp(T) - 1),
        ("-5*t**2 + t", -5 * T**2 + T),
        ("-t**2", -(T**2)),
        ("2**-t", 2.0**-T),
        ("abs(t - 0.3) + min(t, 0.5) * max(t, pi/10)", None),
        ("sqrt(t)*sin(2*pi*t)/(1+e)", np.sqrt(T) * np.sin(2 * np.pi * T) / (1 + np.e)),
        ("3", np.full(11, 3.0)),
        (2, np.full(11, 2.0)),
    ],
)
def test_expressions_evaluate(text: str | float, value: np.ndarray | None) -> None:
    if value is None:
        value = np.abs(T - 0.3) + np.minimum(T, 0.5) * np.maximum(T, np.pi / 10)
    np.testing.assert_allclose(control_from(text)(T), value, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "t.__class__",
        "t.real",
        "[t for t in (1, 2)]",
        "lambda: 1",
        "(lambda: 1)()",
        "exp.__globals__",
        "exp(t)(t)",
        "exp(x=t)",
        "exp(*t)",
        "min(t)",
        "open('x')",
        "eval('1')",
        "f'{t}'",
        "'a'",
        "b'a'",
        "1j",
        "True",
        "None",
        "...",
        "t if t else 1",
        "t and 1",
        "t < 1",
        "not t",
        "~t",
        "t % 2",
        "t // 2",
        "t ^ 2",
        "t @ t",
        "t[0]",
        "{1: t}",
        "(t, t)",
        "t := 1",
        "(t := 1)",
        "t = 1",
        "t; t",
        "import os",
        "yield t",
        "await t",
        "*t",
        "exp",
        "T",
        "",
        "   ",
        "(" * 400 + "t" + ")" * 400,
        "-" * 900 + "t",
        "t" + "+t" * 2000,
        "1" * 900,
        "1e999",
        "t\x00",
        "\ud800",
    ],
)
def test_attacks_are_refused_in_one_line(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ControlError) as caught:
        control_from(text)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - began < 1.0


def test_towers_of_powers_overflow_at_once() -> None:
    began = time.perf_counter()
    with pytest.raises(ControlError, match="inf"):
        control_from("9**9**9**9")(T)
    assert time.perf_counter() - began < 1.0


@pytest.mark.parametrize("text", ["1/t", "log(t)", "sqrt(t - 0.5)", "1/(t-0.5)", "0/(t*0)"])
def test_undefined_values_are_found(text: str) -> None:
    with pytest.raises(ControlError, match=r"w: control .* at t ="):
        Controls.of(text, 0.0).check(1.0)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_parses_or_raises_control_error(text: str) -> None:
    with contextlib.suppress(ControlError):
        control_from(text)(T)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.one_of(st.just("t"), st.floats(0.1, 9, allow_nan=False).map(lambda v: f"{v:.3f}")),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        max_leaves=12,
    )
)
def test_arithmetic_agrees_with_python(text: str) -> None:
    expected = [eval(text, {"t": float(t)}) for t in T]
    np.testing.assert_allclose(control_from(text)(T), expected, rtol=1e-13)


@pytest.mark.parametrize("spec", [None, True, [1.0], np.nan, np.inf])
def test_other_specifications_are_refused(spec: object) -> None:
    with pytest.raises(ControlError):
        control_from(spec)


def test_controls_travel_between_processes() -> None:
    controls = Controls(control_from("exp(t)"), PiecewiseLinearControl([0, 1], [1, 2]))
    copy = pickle.loads(pickle.dumps(controls))
    assert copy == controls
    np.testing.assert_array_equal(copy.evaluate(T), controls.evaluate(T))


class TestPiecewiseLinear:
    def test_interpolates_and_knows_its_knots(self) -> None:
        control = PiecewiseLinearControl([0, 0.5, 1], [0, 1, 0])
        np.testing.assert_allclose(control([0.25, 0.75]), [0.5, 0.5])
        controls = Controls(control, PiecewiseLinearControl([0, 0.2, 1], [0, 1, 0]))
        np.testing.assert_array_equal(controls.knots, [0, 0.2, 0.5, 1])

    @pytest.mark.parametrize(
        ("times", "values"),
        [([0, 0], [1, 2]), ([1, 0], [1, 2]), ([0, 1], [1, np.nan]), ([0, 1], [1]), ([0], [1])],
    )
    def test_refuses(self, times: list[float], values: list[float]) -> None:
        with pytest.raises(ControlError):
            PiecewiseLinearControl(times, values)

    def test_refuses_times_outside(self) -> None:
        with pytest.raises(ControlError, match=r"needed at t = 1\.5"):
            PiecewiseLinearControl([0, 1], [1, 2])([0.5, 1.5])


class TestReadControls:
    def test_round_trip(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "c.npz", time=T, w=T**2, b=-T)
        controls = read_controls(tmp_path / "c.npz", horizon=1.0)
        np.testing.assert_allclose(controls.evaluate(T), [T**2, -T])

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"time": T, "w": T}, "no array 'b'"),
            ({"time": T[:5], "w": T[:5], "b": T[:5]}, "covers"),
            ({"time": T + 0.1, "w": T, "b": T}, "covers"),
            ({"time": T[::-1], "w": T, "b": T}, "increase"),
            ({"time": T, "w": T[:-1], "b": T}, r"'w' has shape \(10,\).* at 11 times"),
            ({"time": T, "w": T * np.nan, "b": T}, "not finite"),
            ({"time": T, "w": np.ones((2, 2)), "b": T}, r"'w' has shape \(2, 2\)"),
            ({"time": T, "w": np.ones((11, 2)), "b": np.ones((11, 2))}, r"\(11, d, d\)"),
            ({"time": 1.0, "w": 2.0, "b": 3.0}, r"'time' has shape \(\)"),
            ({"time": T, "w": T * 1j, "b": T}, "'w' holds values of type complex128"),
            ({"time": T, "w": T, "b": T > 0.5}, "'b' holds values of type bool"),
            ({"time": T, "w": np.array([{}] * 11), "b": T}, "'w' holds Python objects"),
            ({"time": T, "w": np.array(["a"] * 11), "b": T}, "numbers"),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, arrays: dict, words: str) -> None:
        np.savez(tmp_path / "c.npz", **arrays)
        with pytest.raises(ControlError, match=words) as caught:
            read_controls(tmp_path / "c.npz", horizon=1.0)
        assert "c.npz" in str(caught.value)

    def test_matrices(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=(11, 6))
        np.savez(tmp_path / "c.npz", time=T, w=values[:, :4].reshape(11, 2, 2), b=values[:, 4:])
        w, b = read_controls(tmp_path / "c.npz", horizon=1.0).evaluate(T)
        np.testing.assert_array_equal(w.reshape(11, 4), values[:, :4])
        np.testing.assert_array_equal(b, values[:, 4:])

    def test_matrices_that_do_not_fit(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "c.npz", time=T, w=np.ones((11, 2, 3)), b=np.ones((11, 2)))
        with pytest.raises(ControlError, match=r"'w' has shape \(11, 2, 3\)"):
            read_controls(tmp_path / "c.npz")

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 broken")
        np.save(tmp_path / "d.npy", T)
        (tmp_path / "p.npz").write_bytes(pickle.dumps({"w": 1}))
        (tmp_path / "f.npz").mkdir()
        said = dict.fromkeys(("c.npz", "d.npy", "p.npz"), "not a NumPy archive; allowed: an .npz")
        for name, words in {**said, "none.npz": "no such file", "f.npz": "a folder"}.items():
            with pytest.raises(ControlError, match=f"{name}: {words}"):
                read_controls(tmp_path / name)


class TestTimeGrid:
    def test_multiples_are_rounded_once(self) -> None:
        times, indices = time_grid(1.0, 1e-2, snapshots=[0.0, 0.07, 1.0])
        np.testing.assert_array_equal(times, np.arange(101) / 100)
        assert list(indices) == [0, 7, 100]

    def test_knots_are_merged(self) -> None:
        knots = [-1.0, 0.0, 0.1 + 1e-15, 0.25, 0.25 + 1e-14, 0.3 - 1e-13, 1.0, 2.0]
        times, indices = time_grid(1.0, 0.1, knots, [0.3, 1.0])
        np.testing.assert_array_equal(np.sort(np.append(np.arange(11) / 10, 0.25)), times)
        np.testing.assert_array_equal(times[indices], [3 / 10, 1.0])

    @settings(max_examples=100, deadline=None)
    @given(
        st.floats(0.1, 50.0),
        st.integers(1, 300),
        st.lists(st.floats(0, 1), max_size=20),
    )
    def test_properties(self, horizon: float, steps: int, shares: list[float]) -> None:
        knots = np.array(shares) * horizon
        times, indices = time_grid(horizon, horizon / steps, knots, [horizon])
        assert times[0] == 0.0
        assert times[-1] == horizon
        assert indices[0] == times.size - 1
        assert np.all(np.diff(times) > 0.9e-12 * horizon)
        assert np.all(np.diff(times) <= horizon / steps * (1 + 1e-12))
        for knot in knots:
            assert np.abs(times - knot).min() <= 1e-12 * horizon

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((1.0, 0.3), "not a multiple"),
            ((1.0, 0.0), "time_step"),
            ((-1.0, 0.1), "horizon"),
            ((1.0, 2.0), "not a multiple"),
            ((np.nan, 0.1), "horizon"),
            ((1.0, 0.1, (), [0.05]), "snapshot 0.05"),
            ((1.0, 0.1, (), [1.1]), "outside"),
            ((1.0, 0.1, (), [np.nan]), "outside"),
            ((1.0, 0.1, (), [0.5, 0.5]), "increase"),
            ((1.0, 0.1, [np.nan]), "knots"),
        ],
    )
    def test_refuses(self, arguments: tuple, words: str) -> None:
        with pytest.raises(InputError, match=words):
            time_grid(*arguments)
