"""A store as files for other programs: CSV tables, or one netCDF file."""

import json
from pathlib import Path

import xarray as xr

from pipeline.errors import StoreError
from pipeline.root import read_root


def export(store: Path, target: Path) -> list[Path]:
    """Write a store's results to other formats.

    Args:
        store: the store.
        target: a new file ``….nc`` for everything as netCDF, or a new folder for one CSV table per
            group and set of dimensions (fields, which are large, are left to netCDF).

    Returns:
        the files written.

    Raises:
        StoreError: if the store cannot be read, or the target exists or cannot be written.
    """
    read_root(store)
    if target.exists():
        raise StoreError(f"{target}: exists already; give another name")
    try:
        with xr.open_datatree(store, engine="zarr") as tree:
            if target.suffix == ".nc":
                return _netcdf(tree, target)
            return _csv(tree, target)
    except (OSError, ValueError) as error:
        raise StoreError(f"{target}: cannot export: {str(error).splitlines()[0]}") from None


def _netcdf(tree: xr.DataTree, target: Path) -> list[Path]:
    scratch = target.with_name(f"{target.name}.partial")
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


def _csv(tree: xr.DataTree, target: Path) -> list[Path]:
    """One table per group and set of dimensions: a row per point, a column per variable."""
    target.mkdir(parents=True)
    files = []
    for node in tree.subtree:
        tables: dict[tuple[str, ...], list[str]] = {}
        for name, variable in node.data_vars.items():
            if "x" not in variable.dims:
                tables.setdefault(tuple(map(str, variable.dims)), []).append(str(name))
        for dims, names in tables.items():
            group = node.path.strip("/").replace("/", "-")
            file = target / f"{group}-by-{'-'.join(dims)}.csv"
            node.to_dataset()[names].to_dataframe(dim_order=list(dims)).to_csv(file)
            files.append(file)
    return files
