"""One clear line out of a failed validation: where, which key, which value, what is allowed."""

import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
from pydantic.fields import FieldInfo

from pipeline.errors import StudyError
from pipeline.settings import DISTRIBUTIONS, ControlExpressions, ControlFile, Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

S = TypeVar("S", bound=Settings)


def validate(model: type[S], value: object, where: str, section: str) -> S:
    """Validate one section of a study.

    Args:
        model: the section's settings class.
        value: what the study file holds there.
        where: the file, for the message.
        section: the dotted name of the section.

    Raises:
        StudyError: with one line that names the first fault and how many more there are.
    """
    if not isinstance(value, Mapping):
        raise StudyError(f"{where}: [{section}] must be a table, not {show(value)}")
    try:
        return model.model_validate(dict(value))
    except pydantic.ValidationError as error:
        raise StudyError(f"{where}: {_explain(model, section, error)}") from None


def validate_value(model: type[Settings], field: str, value: object, where: str, key: str) -> Any:
    """Validate one value of an axis as the setting that it replaces.

    Args:
        model: the settings class of the section that the setting belongs to.
        field: the setting's name there.
        value: the value.
        where: the file, for the message.
        key: what the message calls the setting: section and name.

    Raises:
        StudyError: with one line that names the fault.
    """
    section, _, name = key.rpartition(".")
    return getattr(validate(_probe(model, field, name), {name: value}, where, section), name)


@lru_cache(maxsize=64)
def _probe(model: type[Settings], field: str, name: str) -> type[Settings]:
    """Settings of one key, which is a field of another model."""
    info = model.model_fields[field]
    fields: Any = {name: (info.annotation, info)}
    return pydantic.create_model("Probe", __base__=Settings, **fields)


def show(value: object) -> str:
    """A value as a message quotes it: short, on one line."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one and all valid ones."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def allowed_values(model: type[Settings], key: str) -> str:
    """What a key of a section may be, in words."""
    return model.model_fields[key].description or "see the documentation"


def _explain(model: type[Settings], section: str, error: pydantic.ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    path, owner, field = _locate(model, first["loc"])
    key = ".".join([section, *path])
    value = show(first["input"])
    match first["type"]:
        case "extra_forbidden":
            text = f"unknown key '{key}'; {nearest(path[-1], owner.model_fields)}"
        case "missing":
            text = f"missing key '{key}'; allowed: {field.description if field else 'a value'}"
        case "union_tag_invalid" | "union_tag_not_found":
            text = f"{key}: {_wrong_kind(first)}"
        case "value_error":
            reason = str(first["ctx"]["error"])
            text = f"{key} = {value}: {reason}{_allowed(field)}"
        case _:
            reason = first["msg"][0].lower() + first["msg"][1:]
            text = f"{key} = {value}: {reason}{_allowed(field)}"
    return text.replace("\n", " ") + more


def _wrong_kind(error: "ErrorDetails") -> str:
    """What is wrong with the kind of a law: there is none such, or not in this place."""
    kind = error["input"].get("kind") if isinstance(error["input"], Mapping) else None
    expected = error.get("ctx", {}).get("expected_tags", "")
    here = [name for name in DISTRIBUTIONS if f"'{name}'" in expected] or list(DISTRIBUTIONS)
    if kind in DISTRIBUTIONS:
        return f"a law of kind '{kind}' cannot stand here; allowed: {', '.join(here)}"
    return f"unknown kind {show(kind)}; {nearest(str(kind), here)}"


def _allowed(field: FieldInfo | None) -> str:
    return f"; allowed: {field.description}" if field and field.description else ""


def _locate(
    model: type[Settings], loc: Sequence[int | str]
) -> tuple[list[str], type[Settings], FieldInfo | None]:
    """Follow an error's location: readable path, the model that owns the key, and the key's field.

    Pydantic puts the tag of a union into the location; that is no key of the user's.
    """
    path: list[str] = []
    owner, field = model, None
    for part in loc:
        if isinstance(part, int):
            if path:
                path[-1] += f"[{part}]"
            continue
        tagged: dict[str, type[Settings]] = {
            **DISTRIBUTIONS,
            "expressions": ControlExpressions,
            "file": ControlFile,
        }
        if field is not None and part in tagged and part not in owner.model_fields:
            owner = tagged[part]
            continue
        if part in tagged and field is not None and _is_union(field):
            owner, field = tagged[part], None
            continue
        path.append(part)
        field = owner.model_fields.get(part)
        if len(inner := _models(field)) == 1:
            owner = inner[0]
    return path, owner, field


def _is_union(field: FieldInfo) -> bool:
    return bool(_models(field))


def _models(field: FieldInfo | None) -> list[type[Settings]]:
    """The settings classes that a key may hold."""
    return [
        argument
        for argument in _flatten(field.annotation if field else None)
        if isinstance(argument, type) and issubclass(argument, Settings)
    ]


def _flatten(annotation: Any) -> list[Any]:
    arguments = typing.get_args(annotation)
    return [annotation] + [leaf for argument in arguments for leaf in _flatten(argument)]
