from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from solvers.distributions import (
    Beta,
    Distribution,
    Normal,
    Samples,
    Uniform,
    read_column,
    read_columns,
)
from solvers.errors import DistributionError

LAWS: list[tuple[Distribution, object]] = [
    (Uniform(-0.5, 2.0), stats.uniform(-0.5, 2.5)),
    (Normal(1.0, 0.1), stats.norm(1.0, 0.1)),
    (Beta(2, 5), stats.beta(2, 5)),
    (Beta(0.5, 1.5, -1, 3), stats.beta(0.5, 1.5, -1, 4)),
]
ALL = [law for law, _ in LAWS] + [Samples([1.0, 2.0, 2.0, 5.0, 5.5])]


@pytest.mark.parametrize(("law", "oracle"), LAWS)
def test_agrees_with_scipy(law: Distribution, oracle: stats.rv_continuous) -> None:
    low, high = oracle.ppf([1e-9, 1 - 1e-9])
    x = np.linspace(low, high, 501)[1:-1]
    np.testing.assert_allclose(law.pdf(x), oracle.pdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.cdf(x), oracle.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(law.sf(x), oracle.sf(x), rtol=1e-11)
    assert law.mean == pytest.approx(oracle.mean(), rel=1e-14)
    assert law.variance == pytest.approx(oracle.var(), rel=1e-13)


@pytest.mark.parametrize("law", ALL)
def test_quantile_inverts_cdf(law: Distribution) -> None:
    u = np.linspace(0.001, 0.999, 999)
    np.testing.assert_allclose(law.cdf(law.quantile(u)), u, rtol=0, atol=2e-14)
    np.testing.assert_allclose(law.sf(law.isf(u)), u, rtol=0, atol=2e-14)
    np.testing.assert_allclose(law.cdf(law.isf(u)), 1 - u, rtol=0, atol=2e-14)


@pytest.mark.parametrize("law", ALL)
def test_cell_averages_sum_to_the_mass(law: Distribution) -> None:
    low, high = law.support()
    edges = np.linspace(low, high, 117)
    averages = law.cell_averages(edges)
    assert np.all(averages >= 0.0)
    assert np.dot(averages, np.diff(edges)) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("law", ALL)
def test_density_integrates_to_moments(law: Distribution) -> None:
    u = (np.arange(400000) + 0.5) / 400000
    x = law.quantile(u)
    assert x.mean() == pytest.approx(law.mean, abs=2e-5 * law.variance**0.5)
    assert x.var() == pytest.approx(law.variance, rel=1e-4)


def test_upper_tail_is_not_lost_to_cancellation() -> None:
    edges = np.array([0.0, 8.0, 9.0, 10.0])
    averages = Normal(0, 1).cell_averages(edges)
    assert averages[-1] == pytest.approx(stats.norm.sf(9) - stats.norm.sf(10), rel=1e-12)


def test_support_and_breakpoints() -> None:
    assert Uniform(0, 1).support() == (0.0, 1.0)
    low, high = Normal(0, 1).support(1e-17)
    assert low == -high == pytest.approx(stats.norm.ppf(1e-17))
    assert Normal(0, 1).breakpoints().size == 0
    assert not Normal(0, 1).is_compact
    assert np.isinf(Beta(0.5, 2).pdf(0.0))


def test_samples_spread_each_value_between_midpoints() -> None:
    law = Samples([3.0, 1.0, 2.0, 2.0])
    np.testing.assert_array_equal(law.edges, [0.5, 1.5, 2.5, 3.5])
    np.testing.assert_array_equal(law.masses, [0.25, 0.5, 0.25])
    np.testing.assert_array_equal(law.pdf([0.5, 1.0, 2.0, 3.5, 3.6]), [0.25, 0.25, 0.5, 0.25, 0])
    assert quad(lambda x: x * float(law.pdf(x)), 0.5, 3.5, points=[1.5, 2.5])[0] == pytest.approx(
        law.mean
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=60).filter(lambda v: len(set(v)) > 1))
def test_samples_undo_rounding_on_a_grid(values: list[int]) -> None:
    law = Samples(np.array(values) / 10.0)
    u = np.linspace(0.01, 0.99, 33)
    np.testing.assert_allclose(law.cdf(law.quantile(u)), u, rtol=1e-11)
    assert law.support()[0] < min(values) / 10.0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Uniform(1, 1), "low = 1.0"),
        (lambda: Uniform(0, np.inf), "high = inf"),
        (lambda: Uniform(-1.7e308, 1.7e308), "too wide"),
        (lambda: Normal(0, 0), "std = 0.0"),
        (lambda: Normal(np.nan, 1), "mean = nan"),
        (lambda: Beta(-1, 1), "a = -1.0"),
        (lambda: Beta(1, 0), "b = 0.0"),
        (lambda: Beta(1, 1, 2, 1), "low = 2.0"),
        (lambda: Uniform("0", 1), "low must be a number"),
        (lambda: Samples([1.0, 1.0]), "two distinct"),
        (lambda: Samples([1.0, np.nan]), "not finite"),
        (lambda: Samples([]), "at least 1"),
        (lambda: Samples([[1.0, 2.0]]), "one-dimensional"),
    ],
)
def test_invalid_parameters_are_named(build: object, words: str) -> None:
    with pytest.raises(DistributionError, match=words):
        build()


class TestReadColumn:
    def test_reads_each_kind(self, tmp_path: Path) -> None:
        table = pd.DataFrame({"n": ["a", "b", "c"], "v": [1.5, 2.5, -1.0], "k": [1, 2, 3]})
        table.to_csv(tmp_path / "t.csv", index=False)
        table.to_parquet(tmp_path / "t.parquet")
        np.save(tmp_path / "one.npy", table["v"].to_numpy())
        np.save(tmp_path / "two.npy", table[["k", "v"]].to_numpy())
        for name, column in [("t.csv", "v"), ("t.parquet", "v"), ("one.npy", None), ("two.npy", 1)]:
            np.testing.assert_array_equal(read_column(tmp_path / name, column), [1.5, 2.5, -1.0])
        np.testing.assert_array_equal(read_column(tmp_path / "t.csv", "k"), [1.0, 2.0, 3.0])

    @pytest.mark.parametrize(
        ("content", "column", "words"),
        [
            ("v\n1\n2\n", "w", "it has v"),
            ("volume\n1\n2\n", "volum", "did you mean 'volume'"),
            ("v\n1\nx\n", "v", "row 2 is 'x'"),
            ("v\n1\n\n2\ninf\n", "v", "row 3"),
            ("v,w\n1,1\n,2\n", "v", "row 2 in column 'v' is nan"),
            ("v\n1\n1\n", "v", "two distinct"),
            ("", "v", "cannot be read"),
            ("v,w\n1,2\n2,3\n", None, "a column must be named"),
        ],
    )
    def test_names_what_is_wrong(
        self, tmp_path: Path, content: str, column: str, words: str
    ) -> None:
        path = tmp_path / "data.csv"
        path.write_text(content)
        with pytest.raises(DistributionError, match=words) as caught:
            read_column(path, column)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_refuses_files(self, tmp_path: Path) -> None:
        np.save(tmp_path / "o.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
        np.save(tmp_path / "two.npy", np.ones((3, 2)))
        (tmp_path / "x.parquet").write_bytes(b"no")
        for name, column, words in [
            ("none.csv", "v", "no such file"),
            ("o.npy", None, "cannot be read"),
            ("two.npy", None, "index from 0 to 1"),
            ("two.npy", 5, "no column 5"),
            ("x.parquet", "v", "cannot be read"),
        ]:
            with pytest.raises(DistributionError, match=words):
                read_column(tmp_path / name, column)
        (tmp_path / "x.txt").write_text("1")
        with pytest.raises(DistributionError, match=r"\.csv, \.parquet, \.npy"):
            read_column(tmp_path / "x.txt", "v")
        np.savez(tmp_path / "z.npz", a=np.ones(3))
        (tmp_path / "z.npz").rename(tmp_path / "z.npy")
        with pytest.raises(DistributionError, match="an archive"):
            read_column(tmp_path / "z.npy")


class TestReadColumns:
    def test_reads_each_kind_in_the_wanted_order(self, tmp_path: Path) -> None:
        table = pd.DataFrame({"v": [1.5, 2.5, -1.0], "k": [1, 2, 3], "c": [0, 0, 0]})
        table.to_csv(tmp_path / "t.csv", index=False)
        table.to_parquet(tmp_path / "t.parquet")
        np.save(tmp_path / "t.npy", table.to_numpy())
        every = table.to_numpy(dtype=float)
        for name, columns in [
            ("t.csv", ["k", "v"]),
            ("t.parquet", ["k", "v"]),
            ("t.npy", [1, 0]),
        ]:
            np.testing.assert_array_equal(read_columns(tmp_path / name, columns), every[:, [1, 0]])
            np.testing.assert_array_equal(read_columns(tmp_path / name), every)
        np.save(tmp_path / "one.npy", every[:, 0])
        np.testing.assert_array_equal(read_columns(tmp_path / "one.npy"), every[:, :1])

    @pytest.mark.parametrize(
        ("content", "columns", "words"),
        [
            ("v,w\n1,2\n2,3\n", ["v", "u"], "no column 'u'"),
            ("v,w\n1,2\n2,3\n", ["v", "v"], "must be different"),
            ("v,w\n1,2\n2,3\n", [], "at least one"),
            ("v,w\n1,2\n2,x\n", ["v", "w"], "row 2 is 'x', not a number in column 'w'"),
            ("v,w\n1,2\n2,x\n", None, "row 2 is 'x'"),
            ("v,w\n1,2\n1,2\n", None, "two distinct rows"),
            ("v,w\n", None, "no rows"),
        ],
    )
    def test_names_what_is_wrong(
        self, tmp_path: Path, content: str, columns: list[str], words: str
    ) -> None:
        path = tmp_path / "data.csv"
        path.write_text(content)
        with pytest.raises(DistributionError, match=words) as caught:
            read_columns(path, columns)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
