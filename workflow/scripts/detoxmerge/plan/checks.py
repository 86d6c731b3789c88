"""Config errors that span entries: unknown aliases, a method's parameters, repetitions.

What can be seen in the raw config is looked for there, so that a typo in one entry does not hide
what is wrong elsewhere.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import BaseModel, ValidationError

from . import config as schema
from .entries import MethodEntry, is_method_entry
from .errors import nearest, sentence
from .methods import METHODS, params_of
from .slug import setting_slug, slug


def unknown_aliases(raw: dict[str, Any]) -> list[str]:
    """Names in `run` that the catalogue does not have, and methods without a file.

    It reads the config before it is parsed, so that a typo elsewhere does not hide these.

    Args:
        raw: the config; what is not of the right form is passed over.

    Returns:
        One sentence per name.
    """
    run = raw.get("run") if isinstance(raw.get("run"), dict) else {}
    errors = []
    for place, kind, names in _named(run):
        known = raw.get(kind, {} if kind == "selectors" else None)
        if not isinstance(names, list) or not isinstance(known, dict):
            continue
        errors += [
            f"{place}.{kind}.{i}: '{name}' is not among {kind}; {nearest(name, known)}"
            for i, name in enumerate(names)
            if isinstance(name, str) and name not in known
        ]
    judge, models = run.get("fluency_judge"), raw.get("models")
    if isinstance(judge, str) and isinstance(models, dict) and judge not in models:
        errors.append(f"run.fluency_judge: '{judge}' is not among models; {nearest(judge, models)}")
    own, named = run.get("method_scales"), run.get("methods")
    errors += [
        f"run.method_scales.{name}: no such method in run.methods; {nearest(name, named)}"
        for name in (own if isinstance(own, dict) else {})
        if isinstance(named, list) and name not in named
    ]
    methods = raw.get("methods")
    return errors + [
        f"methods.{name}: no file edit/methods/{name}.py; {nearest(name, METHODS)}"
        for name in (methods if isinstance(methods, dict) else {})
        if name not in METHODS
    ]


def _named(run: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(place, kind of the catalogue, names) of every list of names in `run`."""
    for kind in ("models", "datasets", "methods", "selectors"):
        yield "run", kind, run.get(kind)
    for stage in ("sweep", "final"):
        found = run.get(stage)
        for kind in ("prompts", "corpora", "scorers"):
            yield f"run.{stage}", kind, found.get(kind) if isinstance(found, dict) else None


def repetitions(config: "schema.Config") -> list[str]:
    """Values that stand twice in a list of `run`, or name two things.

    Args:
        config: the parsed config.

    Returns:
        One sentence per list.
    """
    run, errors = config.run, []
    lists = {
        "models": run.models,
        "datasets": run.datasets,
        "methods": run.methods,
        "seeds": run.seeds,
        "scales": run.scales,
        **{f"method_scales.{name}": scales for name, scales in run.method_scales.items()},
        "selectors": run.selectors,
        "exports": run.exports,
    }
    for name, stage in run.stages.items():
        lists |= {f"{name}.{kind}": names for kind, names in stage.model_dump().items()}
    for key, values in lists.items():
        said = [str(v) if isinstance(v, str) else slug(v) for v in values]  # as in paths
        twice = sorted({v for v in said if said.count(v) > 1})
        if twice:
            errors.append(f"run.{key}: {', '.join(twice)} stands there twice; leave one out")
    for name, stage in run.stages.items():
        both = sorted(set(stage.prompts) & {c for s in run.stages.values() for c in s.corpora})
        if both:  # they share the folder of an edit's measurements
            errors.append(f"run.{name}: '{both[0]}' names a prompt set and a corpus; rename one")
    return errors


def settings(name: str, entry: MethodEntry) -> list[BaseModel]:
    """Every combination of a method's swept parameters.

    Args:
        name: the method.
        entry: its config entry, or a list of them; in each a list is swept, a scalar fixed.

    Returns:
        The method's ``Params``, typed and complete.

    Raises:
        pydantic.ValidationError: an unknown parameter or a value out of range.
    """
    entries = entry if isinstance(entry, list) else [entry]
    return [
        params_of(name, values).model_validate(values)
        for one in entries
        for values in _combinations(one)
    ]


def _combinations(entry: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Every combination of what is swept, unchecked."""
    swept = {k: v if isinstance(v, list) else [v] for k, v in (entry or {}).items()}
    for values in product(*swept.values()):
        yield dict(zip(swept, values, strict=True))


def bad_methods(raw: dict[str, Any]) -> Iterator[str]:
    """Parameters of the methods in `run` that the methods refuse.

    Args:
        raw: the config; what is not of the right form is passed over.

    Yields:
        One sentence per error.
    """
    run = raw.get("run") if isinstance(raw.get("run"), dict) else {}
    entries = raw.get("methods") if isinstance(raw.get("methods"), dict) else {}
    catalogue = {"recipes": {"default": {}}} | raw
    names = run.get("methods") if isinstance(run.get("methods"), list) else []
    for name in names:
        entry = entries.get(name)
        if name not in METHODS or name not in entries or not is_method_entry(entry):
            continue  # said elsewhere
        yield from _bad_method(name, entry, catalogue)


def _bad_method(name: str, entry: MethodEntry, catalogue: dict[str, Any]) -> Iterator[str]:
    where, errors = f"methods.{name}", []
    for i, one in enumerate(entry if isinstance(entry, list) else [entry]):
        errors += _bad_entry(name, one, f"{where}.{i}" if isinstance(entry, list) else where)
    if errors:
        yield from errors
        return
    found = settings(name, entry)
    slugs = [setting_slug(params) for params in found]
    if not found:
        yield f"{where}: an empty list sweeps nothing; give it a value"
    if len(set(slugs)) < len(slugs):
        yield f"{where}: a value stands there twice; leave one out"
    for key, kind, alias in sorted({named for params in found for named in aliases(params)}):
        if isinstance(known := catalogue.get(kind, {}), dict) and alias not in known:
            yield f"{where}.{key}: '{alias}' is not among {kind}; {nearest(alias, known)}"


def aliases(params: BaseModel) -> Iterator[tuple[str, str, str]]:
    """What a method's parameters name of the catalogue.

    Args:
        params: of one setting.

    Yields:
        Parameter, kind of the catalogue, alias.
    """
    for name, field in type(params).model_fields.items():
        extra = field.json_schema_extra
        kind = extra.get("alias_of") if isinstance(extra, dict) else None
        if kind and getattr(params, name) is not None:
            yield name, str(kind), getattr(params, name)


def refused_by_methods(config: "schema.Config") -> Iterator[str]:
    """What methods of the study cannot work with.

    Args:
        config: the parsed config, otherwise without errors.

    Yields:
        One sentence per thing.
    """
    for name in config.run.methods:
        for params in settings(name, config.methods[name]):
            for sentence_of in getattr(METHODS[name], "refusals", lambda params, config: [])(
                params, config
            ):
                yield f"methods.{name}: {sentence_of}"


def _bad_entry(name: str, entry: dict[str, Any] | None, where: str) -> list[str]:
    """The errors of the first combination that has any."""
    for values in _combinations(entry):
        params = params_of(name, values)
        kind = "parameter"
        if params is not METHODS[name].Params:
            kind += f" with operator {values['operator']}"
        try:
            setting_slug(params.model_validate(values))
        except ValidationError as error:
            return [
                sentence(e, ".".join([where, *map(str, e["loc"])]), params.model_fields, kind)
                for e in error.errors()
            ]
        except ValueError as error:
            return [f"{where}: {error}"]
    return []
