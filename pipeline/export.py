"""A store as files for other programs: CSV tables, or one netCDF file."""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from pipeline.errors import StoreError
from pipeline.layout import analysis_tables
from pipeline.place import Place
from pipeline.steps.base import Variable
from pipeline.store import stored_study
from pipeline.study import Study

LONG = ("time", "iteration")  # dimensions that make rows of their own
SHORT = ("norm", "component", "other_component")  # dimensions that make columns


def export(store: Place, target: Path) -> list[Path]:
    """Write a store's results to other formats.

    Args:
        store: the store.
        target: a new file ``….nc`` for everything as netCDF, or a new folder for one CSV table per
            table (densities, which are large, are left to netCDF).

    Returns:
        the files written.

    Raises:
        StoreError: if the store cannot be read, or the target exists or cannot be written.
    """
    study = stored_study(store)
    if target.exists():
        raise StoreError(f"{target}: exists already; give another name")
    try:
        with store.open_tree() as tree:
            if target.suffix == ".nc":
                return _netcdf(tree, target)
            return _csv(tree, study, target)
    except StoreError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(f"{target}: cannot export: {str(error).splitlines()[0]}") from None


def _netcdf(tree: xr.DataTree, target: Path) -> list[Path]:
    scratch = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    tree = tree.load()
    # netCDF attributes are numbers and strings; what is more becomes JSON.
    tree.attrs = {
        k: v if isinstance(v, (int, str)) else json.dumps(v) for k, v in tree.attrs.items()
    }
    try:
        tree.to_netcdf(scratch, engine="h5netcdf")
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    return [target]


def _csv(tree: xr.DataTree, study: Study, target: Path) -> list[Path]:
    """One file per table: a row per point and snapshot, a column per axis and per number.

    What goes along times of controls or iterations has files of its own, ``…-by-time.csv`` and
    ``…-by-iteration.csv``.
    """
    target.mkdir(parents=True)
    files = []
    for name, group, variables in _tables(study):
        fields = [variable for variable in variables if variable.per and "x" not in variable.dims]
        plain = [variable for variable in variables if not variable.per]
        for along in ("", *LONG):
            chosen = _along(plain, along)
            frames = [_frame(tree.children[group], chosen)] if chosen else []
            frames += _frames_of_fields(tree.children[group], _along(fields, along))
            if frames:
                file = target / f"{name}{f'-by-{along}' if along else ''}.csv"
                pd.concat(frames).to_csv(file, index=False)
                files.append(file)
    return files


def _tables(study: Study) -> Iterator[tuple[str, str, Sequence[Variable]]]:
    """Name, group and variables of every table of a study's store."""
    for step in study.steps:
        for table in step.tables_in(study.header.steps):
            name = "-".join([step.name, *table.status.split("_")[1:]])
            yield name, step.name, (Variable(table.status, "", ()), *table.variables)
    for rates in analysis_tables(study):
        yield f"analysis-{rates.name.replace(' ', '-')}", "analysis", rates.variables


def _along(variables: Sequence[Variable], dimension: str) -> list[Variable]:
    """The variables that go along a long dimension, or along none."""
    long = {dimension} if dimension else set()
    return [variable for variable in variables if long == set(LONG).intersection(variable.dims)]


def _frames_of_fields(node: xr.DataTree, fields: Sequence[Variable]) -> list[pd.DataFrame]:
    """The fields, from one group for each value of the key that their lengths depend on."""
    frames = []
    for key in dict.fromkeys(variable.per for variable in fields):
        own = [variable for variable in fields if variable.per == key]
        names = [name for name in node.children if name.startswith(f"{key}_")]
        for value in sorted(int(name.removeprefix(f"{key}_")) for name in names):
            frame = _frame(node.children[f"{key}_{value}"], own)
            frame.insert(0, key, value)
            frames.append(frame)
    return frames


def _frame(node: xr.DataTree, variables: Sequence[Variable]) -> pd.DataFrame:
    """The variables as columns, and all their axes too."""
    names = [variable.name for variable in variables if variable.name in node.data_vars]
    found = _spread(node.to_dataset()[names])
    if not found.dims:
        return pd.DataFrame({name: [array.item()] for name, array in found.items()})
    order = sorted(found.dims, key=lambda name: name == "snapshot")
    frame = found.to_dataframe(dim_order=order).reset_index()
    axes = [name for name in frame if name in found.coords]
    return frame[[*axes, *found.data_vars]]


def _spread(found: xr.Dataset) -> xr.Dataset:
    """The data with one variable for each entry along a short dimension, such as mean_0, mean_1."""
    for dimension in SHORT:
        for name, array in found.items():
            if dimension in array.dims:
                found = found.drop_vars([name])
                for i, entry in enumerate(array.transpose(dimension, ...)):
                    suffix = str(entry[dimension].item()) if dimension in entry.coords else i
                    found[f"{name}_{suffix}"] = entry.drop_vars(dimension, errors="ignore")
    return found.drop_vars([name for name in SHORT if name in found.coords])
