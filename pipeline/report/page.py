"""The page: one HTML file that holds its data, programs and styles, and loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.place import Place
from pipeline.report.charts import Drawn, draw_all
from pipeline.report.facts import Facts, facts_of
from pipeline.report.html import check_folder, render, write_page
from pipeline.report.recompute import recompute
from pipeline.report.tables import Cell, Table, number
from pipeline.root import read_root
from pipeline.session import folder_of

KIND = "meanfield report"
"""By this a page is known as one of ours."""
SECTIONS = (
    ("convergence", "Convergence", ("rates", "sliced-rates"),
     ("w1-against-m", "sliced-w1-against-m", "local-rates")),
    ("grid", "Grid", ("plane", "budgets", "orders"), ("error-against-cells", "plane")),
    ("solutions", "Densities and controls", (), ("densities", "controls", "dependence")),
    ("training", "Training", ("training", "control-rates"),
     ("cost-histories", "gamma-paths", "control-rates")),
)  # fmt: skip
"""Sections of the page between summary and points: name, title, their tables and figures."""


@dataclass(frozen=True)
class Side:
    """One store on the page.

    Attributes:
        mark: what tells it apart, "A" or "B"; empty where it is alone.
        facts: what is said of it.
        drawn: its figures by name.
        notes: what could not be shown.
    """

    mark: str
    facts: Facts
    drawn: dict[str, Drawn]
    notes: Sequence[str]

    def table(self, name: str) -> Table | None:
        """One of its tables."""
        return next((table for table in self.facts.tables if table.name == name), None)


def write_report(store: Place, folder: Path, compare_with: Place | None = None) -> Path:
    """Write the report of a store: ``index.html``, and the figures as files in ``figures/``.

    Args:
        store: the store.
        folder: where the report goes; made if there is none.
        compare_with: another store, to be laid side by side.

    Returns:
        the page.

    Raises:
        StoreError: if a store cannot be read, or the folder cannot be written.
    """
    places = {"A": store, "B": compare_with} if compare_with else {"": store}
    for place in places.values():
        read_root(place)
    check_folder(folder, KIND)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        sides = [_side(place, mark, folder) for mark, place in places.items()]
        return write_page(folder, _html(sides))
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{folder}: cannot write there: {error.strerror}") from None


def _side(place: Place, mark: str, folder: Path) -> Side:
    others = recompute(place)
    prefix = "b-" if mark == "B" else ""
    try:
        with place.open_tree() as tree:
            drawn = draw_all(tree, others, folder / "figures", prefix)
            return Side(
                mark,
                facts_of(tree, place, folder_of(place, tree.attrs["title"])),
                drawn,
                others.notes,
            )
    except (ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{place}: cannot be read: {reason}; `verify` finds damage") from None


def _html(sides: Sequence[Side]) -> str:
    sections = [
        (name, title, tables, figures)
        for name, title, tables, figures in SECTIONS
        if any(side.table(t) for side in sides for t in tables)
        or any(f in side.drawn for side in sides for f in figures)
    ]
    return render(
        "page.html",
        KIND,
        sides=sides,
        sections=sections,
        title=" against ".join(side.facts.name for side in sides),
        compared=_compared(sides) if len(sides) > 1 else None,
    )


def _compared(sides: Sequence[Side]) -> Table | None:
    """The rates of two stores (or their orders), row beside row."""
    for name in ("rates", "orders", "control-rates", "training"):
        first, second = (side.table(name) for side in sides)
        if first and second:
            return _joined(first, second)
    return None


def _joined(first: Table, second: Table) -> Table | None:
    keys = first.keys
    if first.header != second.header:
        return None
    known = {tuple(c.text for c in row[:keys]): row[keys] for row in second.rows}
    rows = []
    for row in first.rows:
        other = known.get(tuple(c.text for c in row[:keys]))
        if other is not None:
            rows.append([*row[:keys], row[keys], other, _difference(row[keys], other)])
    quantity = first.header[keys]
    header = [*first.header[:keys], f"A: {quantity}", f"B: {quantity}", "B − A"]
    return Table("compared", first.caption, header, rows, keys) if rows else None


def _difference(first: Cell, second: Cell) -> Cell:
    if first.value is None or second.value is None:
        return Cell("–")
    return number(second.value - first.value, 4)
