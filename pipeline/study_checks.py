"""What must hold in a study as a whole, beyond each of its settings.

Every check raises StudyError in one line: where, what, and what is allowed.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline import settings
from pipeline.analysis_tables import ANALYSIS
from pipeline.axes import Axis, positions, section_of, training_key
from pipeline.errors import StudyError
from pipeline.steps import STEPS
from pipeline.steps.base import ONLY_WITH
from pipeline.training import misfit
from solvers.device import check_activation, check_device
from solvers.errors import InputError
from solvers.sampling import VECTOR_SAMPLINGS

if TYPE_CHECKING:
    from pipeline.study import Study

FOR_TRAINING = ("loss", "gamma", "gamma_w", "gamma_b")  # keys of [problem] for the step train alone


def check_dimension(study: "Study") -> None:
    """In R^d not every step and sampling is at hand; some settings are for R^d only."""
    found = sorted(study.dimensions())
    if len(found) > 1 and study.trains:
        raise StudyError(
            f"{study.where}: axes.initial: laws in {', '.join(f'R^{d}' for d in found)}; the "
            "step 'train' needs laws in one space"
        )
    for step in study.steps:
        if study.dimension > step.max_dimension:
            raise StudyError(
                f"{study.where}: study.steps: the step '{step.name}' works on the line; "
                f"problem.initial is a law in R^{study.dimension}"
            )
    in_space = {"sampling": VECTOR_SAMPLINGS, "push": ("direct",), "device": ("cpu",)}
    for key, allowed in in_space.items():
        for value in _chosen(study, key):
            if study.dimension > 1 and value not in allowed:
                raise StudyError(
                    f"{study.where}: numerics.{key} = '{value}' works on the line; allowed "
                    f"in R^{study.dimension}: {', '.join(allowed)}"
                )
    used = {key for step in study.steps for key in step.keys} | study.varying("numerics")
    for key in sorted({"exact_particles", "projections"} - used):
        if getattr(study.numerics, key) != settings.default_of(f"numerics.{key}"):
            raise StudyError(
                f"{study.where}: numerics.{key}: {useless(study, key)}; in R^d the step "
                "particles does"
            )


def check_activations(study: "Study") -> None:
    """A GPU has the activations that ship, and none that were added."""
    axis = study.axis("activation")
    with _naming(study, "numerics.device"):
        for device in _chosen(study, "device"):
            for name in axis.settings("activation") if axis else ():
                check_activation(device, name)


def check_devices(study: "Study") -> None:
    """See that this machine has the devices that the study asks for; workers of its own use them.

    A study is read, planned and reported on machines without them too.
    """
    if "particles" not in study.header.steps:
        return
    with _naming(study, "numerics.device"):
        for device in _chosen(study, "device"):
            check_device(device)


@contextlib.contextmanager
def _naming(study: "Study", setting: str) -> Iterator[None]:
    """Say where the study asks for what a solver refuses."""
    try:
        yield
    except InputError as error:
        raise StudyError(f"{study.where}: {given_as(study, setting)}: {error}") from None


def _chosen(study: "Study", key: str) -> list[Any]:
    """The values of a setting of [numerics] that the study asks for."""
    axis = study.axis(key)
    return [getattr(study.numerics, key)] if axis is None else axis.settings(key)


def check_zip_names(study: "Study") -> None:
    """A zipped axis must not hide a variable of the store."""
    tables = [table for step in study.steps for table in step.tables]
    taken = {variable.name for table in tables for variable in table.variables}
    taken |= {variable.name for table in ANALYSIS for variable in table.variables}
    taken |= {table.status for table in tables} | set(STEPS) | {"zip", "analysis"}
    taken |= {"norm", "budget", "component", "other_component"}
    groups = ("cells_", "intervals_", "max_iterations_")
    for axis in study.axes:
        if axis.zipped and (axis.name in taken or axis.name.startswith(groups)):
            raise StudyError(
                f"{study.where}: axes.zip: the name '{axis.name}' is taken; choose another"
            )


def check_what_is_given(study: "Study") -> None:
    """Controls are either given or trained, and what only training needs comes with it.

    What has its default is let pass: a resolved study writes it out.
    """
    given, trains = study.problem.model_dump(exclude_none=True), study.trains
    if not trains and "controls" not in given:
        raise StudyError(
            f"{study.where}: missing key 'problem.controls'; allowed: "
            "{ w = ..., b = ... } or { file = 'controls.npz' }"
        )
    if trains and "controls" in given:
        raise StudyError(f"{study.where}: problem.controls: the step train finds them; remove")
    if trains and "target" not in given:
        raise StudyError(
            f"{study.where}: missing key 'problem.target', which the step train needs; "
            "allowed: a distribution: { kind = ..., ... }"
        )
    perturbed = "perturbed" in given
    if perturbed != ("dependence" in study.header.steps):
        missing = "given, but only the step dependence uses it"
        if not perturbed:
            missing = "missing; the step dependence compares with these controls"
        raise StudyError(f"{study.where}: problem.perturbed: {missing}")
    gammas = given.keys() & {"gamma", "gamma_w", "gamma_b"}
    if trains and gammas not in ({"gamma"}, {"gamma_w", "gamma_b"}):
        raise StudyError(
            f"{study.where}: problem: {', '.join(sorted(gammas)) or 'no gamma'} given; the step "
            "train needs gamma, or gamma_w and gamma_b"
        )
    if not trains:
        _refuse_training(study)


def _refuse_training(study: "Study") -> None:
    """Refuse what only the step train uses; what has its default is let pass."""
    for section, model in (("problem", settings.Problem), ("training", settings.Training)):
        for key, field in model.model_fields.items():
            name = training_key(key) if section == "training" else key
            trains = section == "training" or key in FOR_TRAINING
            given = getattr(getattr(study, section), key) != field.default
            if trains and given and key not in study.varying(section):
                raise StudyError(f"{study.where}: {section}.{key}: {useless(study, name)}")


def check_training(study: "Study") -> None:
    """See that loss, target, data and discretisation fit together, everywhere."""
    keys = {"loss", "discretization", "initial", "target", "training_particles", "activation"}
    axes = [axis for axis in study.axes if keys.intersection(axis.keys)]
    first = {
        key: value
        for axis in study.axes
        for key, value in zip(axis.keys, axis.values[0], strict=True)
    }
    for values in positions(axes):
        if found := misfit(study.case(first | values)):
            key, what = found
            raise StudyError(f"{study.where}: {given_as(study, key)}: {what}")


def check_analysis(study: "Study") -> None:
    """A width can be asked for where seeds can be added: on an axis of their own."""
    if study.analysis.rate_half_width is None:
        return
    at = f"{study.where}: analysis.rate_half_width"
    if "particles" not in study.header.steps:
        raise StudyError(f"{at}: only the step particles has rates in M; add it or remove this")
    if (axis := study.axis("seed")) is None or axis.zipped:
        raise StudyError(f"{at}: seeds cannot be added; give axes.seed = {{ count = ... }}")
    if (particles := study.axis("particles")) is None or not _tells_rates(particles):
        raise StudyError(f"{at}: there is no rate; allowed: axes.particles with 2 numbers or more")
    if (largest := max(axis.labels("seed"))) + study.analysis.max_seeds > settings.MAX_SEED:
        raise StudyError(f"{at}: seeds are added after the largest; axes.seed has {largest}")
    if len(axis) < 3:
        raise StudyError(f"{at}: intervals need 3 seeds or more; allowed: axes.seed with 3 or more")
    if len(axis) > study.analysis.max_seeds:
        raise StudyError(
            f"{study.where}: analysis.max_seeds = {study.analysis.max_seeds}: fewer than the "
            f"{len(axis)} of axes.seed; allowed: {len(axis)} or more"
        )


def useless(study: "Study", key: str) -> str:
    """Why a key is of no use to this study's steps."""
    text = f"no step of this study depends on it (steps: {', '.join(study.header.steps)})"
    setting, method = ONLY_WITH.get(key, ("", ""))
    if study.trains and method:
        return f"{text}; training uses it with {setting} = '{method}'"
    own = section_of(key)
    if own and (own[0] == "training" or key in FOR_TRAINING):
        return f"{text}; the step train does"
    return text


def given_as(study: "Study", setting: str) -> str:
    """Where a setting, given by section and name, stands: there, or among the axes."""
    section, _, field = setting.partition(".")
    key = training_key(field) if section == "training" else field
    return setting if study.axis(key) is None else f"axes.{key}"


def _tells_rates(axis: Axis) -> bool:
    """Whether an axis has several M, each once."""
    numbers = axis.labels("particles")
    return len(set(numbers)) == len(numbers) > 1
