"""Writes study-reference.md: every key of a study file, out of the schema that checks it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from pipeline.axes import AMBIGUOUS, NOT_AXES
from pipeline.cluster_settings import Cluster
from pipeline.regression_settings import Regression, Rule
from pipeline.settings import DISTRIBUTIONS, SECTIONS, ControlExpressions, ControlFile, Settings

HEAD = """# Reference of the study file

A study file is TOML. This page is made from the schema that validates it
(`python docs/study_reference.py`); an unknown key, a missing one, or a value that is not allowed is
refused in one line that says where, what, and what is allowed.

`-s section.key=value` on the command line replaces a key. From Python the tables are the arguments
of `pipeline.study.Study`.
"""
AXES = """## [axes]

Each key is a setting that varies, marked "axis" below, over

* a list of values,
* `{ from, to, per_decade }`: equal steps of the logarithm, whole numbers rounded half to even,
* for `seed` also `{ count = n }`: 0 … n − 1.

The grid is the product of all axes. `[[axes.zip]]` with a `name` and equally long lists varies
several keys together, as one dimension of that name. A key stands either here or in its section. A
key that no step of the study uses is refused as an axis. As axes, `cells` and `particles` of
`[training]` are called `training_cells` and `training_particles`.
"""
CLUSTER = """The same table may stand in a file of your own, `~/.config/meanfield/cluster.toml`, or
the one that `MEANFIELD_CLUSTER_FILE` names: what a study says goes before it, and options
(`--cluster`, `--workers`, `--min`, `--max`, `--tls`, `-s cluster.queue=main`) before both.
"""
RULES = """What makes numbers agree, at the points that both nights have results for:

* identical: they are equal.
* tolerance: they differ by at most relative · size + absolute, each 0 unless given. The size of an
  entry of a field is that of its largest entry.
* equivalent: their means over the seeds differ by at most margin · mean (0.01 unless given), by two
  one-sided t tests; seed by seed where both nights have the same seeds.
* interval: their 95 % intervals allow it, or, with a margin, show that they differ by no more.
* order: they differ by at most the margin (0.05 unless given).
* not-above: the new one is above the old one by at most relative · size + absolute.
* ratio: it is at most 1 + margin (1.25 unless given) times what earlier nights lead to expect, in
  units of a calibration kernel's time or memory.
* ignored: always.

Without a rule of the study's a status, and what else stands for words, is identical; what has seeds
is equivalent; fits with intervals go by them, and orders by order; iterations and substeps may rise
by some per cent; `*/wall_seconds` and `run/memory` are ratios; all else has a tolerance above
rounding: 1e-8 relative (1e-4 for trained controls) and 1e-11 absolute.
"""
FORMS = """## Distributions

Values of `initial` and `target`, and of the keys below that take a distribution:
`{ kind = "uniform", low = 0, high = 1 }`. product and samples with `columns` are laws in R^d; atoms
are for `target` alone.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    sections = {**SECTIONS, "cluster": Cluster, "regression": Regression}
    for section, model in sections.items():
        parts.append(f"## [{section}]\n\n{_text(model)}\n\n" + "\n".join(_table(model, section)))
        if section == "study":
            parts.append(AXES)
        if section == "cluster":
            parts.append(CLUSTER)
    parts.append(f"### rules\n\n{_text(Rule)}\n\n" + "\n".join(_table(Rule)) + f"\n\n{RULES}")
    parts.append(FORMS)
    for kind, model in DISTRIBUTIONS.items():
        parts.append(f"### {kind}\n\n{_text(model)}\n\n" + "\n".join(_table(model)))
    parts.append("## Controls\n\nValues of `controls`, `perturbed` and `start`.\n")
    controls = (ControlExpressions, ControlFile)
    parts += [f"{_text(model)}\n\n" + "\n".join(_table(model)) for model in controls]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _text(model: type[Settings]) -> str:
    text = " ".join((model.__doc__ or "").split())
    text = text.partition(": ")[2] if text.startswith("Section [") else text
    return text[0].upper() + text[1:]


def _table(model: type[Settings], section: str = "") -> Iterator[str]:
    """The keys of a table; of a section also whether they may be axes, and what they mean."""
    yield (
        "| key | meaning | allowed | default | axis |" if section else "| key | allowed | default |"
    )
    yield "|---|---|---|---|---|" if section else "|---|---|---|"
    for key, field in model.model_fields.items():
        allowed, default = field.description, _default(field)
        if section:
            meaning = (field.title or "").replace("|", "\\|")
            yield f"| `{key}` | {meaning} | {allowed} | {default} | {_axis(section, key)} |"
        elif key != "kind":
            yield f"| `{key}` | {allowed} | {default} |"


def _axis(section: str, key: str) -> str:
    if section not in ("problem", "numerics", "training") or key in NOT_AXES:
        return ""
    return f"`training_{key}`" if section == "training" and key in AMBIGUOUS else "yes"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return ""
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("'", '"')
    return f"`{text}`"


if __name__ == "__main__":
    Path(__file__).with_name("study-reference.md").write_text(reference())
