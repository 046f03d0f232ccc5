"""Frozen config dataclasses to plain JSON and strictly back: what jobs, artifact digests and run records
hold.

In: a dataclass of str, int, float, bool, None, Literal, tuple, dict[str, …] and nested dataclasses. Out:
JSON that `from_json` turns into an equal value, or a ValueError that names the field. No class names are
stored: the reader knows the type (the annotation of the stage's first parameter), so no file chooses what
is constructed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def to_json(value: Any) -> Any:
    """Plain JSON of a config value. Raises ValueError for anything that `from_json` could not restore.

    A field with `omit_default` in its metadata was added later: at its default it is left out, so that digests stay.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.metadata.get("omit_default") and getattr(value, field.name) == field.default)
        }
    if isinstance(value, Mapping):
        if bad := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"config holds a mapping with the key {bad[0]!r}; allowed: text keys")
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"config holds {value!r}; allowed: finite numbers")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, PurePath):
        raise ValueError(f"config holds the path {value}; a path changes no result: pass it as an input or a knob")
    raise ValueError(f"config holds {value!r} of type {type(value).__name__}; allowed: JSON values and dataclasses")


def from_json(kind: Any, data: Any, where: str = "config") -> Any:
    """The value of type `kind` that `data` describes.

    Strict: unknown and missing fields, other types and values outside a Literal raise ValueError naming the
    field; an int is accepted for a float field and becomes one, nothing else is converted.
    """
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_from_json(kind, data, where)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        # 1 == True == 1.0: compare the types too
        if not any(data == level and type(data) is type(level) for level in args):
            raise ValueError(f"{where} is {data!r}; allowed: {', '.join(map(str, args))}")
        return data
    if origin in (Union, types.UnionType):
        return _union_from_json(args, data, where)
    if origin is tuple:
        return _tuple_from_json(args, data, where)
    if origin in (dict, Mapping) or kind is dict:
        if not isinstance(data, dict):
            raise ValueError(f"{where} is {data!r}; allowed: a mapping")
        item_type = args[1] if args else Any
        return {key: from_json(item_type, item, f"{where}.{key}") for key, item in data.items()}
    if kind is Any:
        return data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if kind in (str, bool, int, float, type(None)):
        if type(data) is not kind:
            raise ValueError(f"{where} is {data!r}; allowed: {'nothing' if kind is type(None) else kind.__name__}")
        return data
    raise ValueError(f"{where} has the type {kind}, which no config may hold")


def _dataclass_from_json(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where} is {data!r}; allowed: the fields of {kind.__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    if unknown := sorted(set(data) - set(fields)):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r}; allowed: {', '.join(fields)}")
    needed = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in needed if name not in data]:
        raise ValueError(f"{where} misses the field {missing[0]!r}")
    hints = _type_hints(kind)
    return kind(**{name: from_json(hints[name], item, f"{where}.{name}") for name, item in data.items()})


def _union_from_json(args: tuple[Any, ...], data: Any, where: str) -> Any:
    reasons = []
    # the exact type first, so that int | float keeps an int and float | int a float
    for option in sorted(args, key=lambda option: option is not type(data)):
        try:
            return from_json(option, data, where)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[0] if len(reasons) == 1 else f"{where} is {data!r}; no alternative of its type fits")


def _tuple_from_json(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise ValueError(f"{where} is {data!r}; allowed: a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(from_json(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(args) != len(data):
        raise ValueError(f"{where} has {len(data)} entries; allowed: {len(args)}")
    return tuple(from_json(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(args, data, strict=True)))


def canonical(config: Any) -> Any:
    """JSON of a config, equal for equal configs: a dataclass goes through its own types, so that 1 and 1.0
    in a float field agree."""
    plain = to_json(config)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return to_json(from_json(type(config), plain, type(config).__name__))
    return plain


def json_digest(value: Any) -> str:
    """sha256 (hex) of the canonical JSON text: sorted keys, no spaces, ASCII, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
