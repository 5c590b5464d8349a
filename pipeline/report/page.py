"""The page: one HTML file that holds its data, programs and styles, and loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.errors import StoreError
from pipeline.place import Place
from pipeline.report.charts import Drawn, draw_all, script
from pipeline.report.facts import Facts, facts_of
from pipeline.report.recompute import recompute
from pipeline.report.tables import Cell, Table, number
from pipeline.root import read_root
from pipeline.session import folder_of

KIND = "meanfield report</title>"
"""By this a page is known as one of ours."""
HOME = Path(__file__).resolve().parent
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
    _check_folder(folder)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        sides = [_side(place, mark, folder) for mark, place in places.items()]
        page = folder / "index.html"
        scratch = page.with_name("index.html.partial")
        scratch.write_text(_html(sides), encoding="utf-8")
        scratch.replace(page)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{folder}: cannot write there: {error.strerror}") from None
    return page


def _check_folder(folder: Path) -> None:
    """See that a page that is already there is one of ours."""
    page = folder / "index.html"
    if page.is_file() and KIND not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise StoreError(f"{page}: not a report of meanfield; give another folder")


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
    environment = Environment(
        loader=FileSystemLoader(HOME), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    bundle, bundle_hash = script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    program, program_hash = script((HOME / "page.js").read_text(encoding="utf-8"))
    sections = [
        (name, title, tables, figures)
        for name, title, tables, figures in SECTIONS
        if any(side.table(t) for side in sides for t in tables)
        or any(f in side.drawn for side in sides for f in figures)
    ]
    return environment.get_template("page.html").render(
        sides=sides,
        sections=sections,
        title=" against ".join(side.facts.name for side in sides),
        style=Markup((HOME / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        bundle=bundle,
        program=program,
        hashes=f"{bundle_hash} {program_hash}",
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
