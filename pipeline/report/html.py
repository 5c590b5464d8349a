"""Pages that hold their data, programs and styles, and load nothing: what all of ours share."""

import functools
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.errors import StoreError
from pipeline.files import write_atomically
from pipeline.report.charts import script

HOME = Path(__file__).resolve().parent
FOLDERS = (HOME, HOME.parent / "regression")


def render(template: str, kind: str, **context: Any) -> str:
    """A page made of a template that extends ``base.html``.

    Args:
        template: the name of its file.
        kind: what is said before its title, and by which :func:`check_folder` knows it as ours.
        context: what it shows; ``title`` among it.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDERS), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    bundle, bundle_hash = _bundle()
    program, program_hash = script((HOME / "page.js").read_text(encoding="utf-8"))
    return environment.get_template(template).render(
        kind=kind,
        style=Markup((HOME / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        bundle=bundle,
        program=program,
        hashes=f"{bundle_hash} {program_hash}",
        **context,
    )


@functools.cache
def _bundle() -> tuple[Markup, str]:
    """Vega and its helpers, which take a second to be put together."""
    return script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def check_folder(folder: Path, kind: str) -> None:
    """See that a page that is already in a folder is one of ours.

    Raises:
        StoreError: if not.
    """
    page = folder / "index.html"
    if page.is_file():
        known = page.read_text(encoding="utf-8", errors="replace")[:2000]
        if f"{kind}</title>" not in known:
            raise StoreError(f"{page}: not a {kind}; give another folder")


def write_page(folder: Path, text: str) -> Path:
    """Write a page, whole or not at all."""
    page = folder / "index.html"
    write_atomically(page, text)
    return page
