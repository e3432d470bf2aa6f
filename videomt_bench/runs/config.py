"""Dictionaries to typed settings and back; an unknown key is an error with near matches."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from videomt_bench.errors import BenchError, unknown

T = TypeVar("T")


def build(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass ``cls`` from a mapping, nested dataclasses included.

    Raises:
        BenchError: not a mapping, an unknown or missing key, or a value of another type.
    """
    if not isinstance(data, Mapping):
        raise BenchError(f"{where} must be a table of settings, not {data!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise unknown(f"key in {where}", key, fields)
    for name, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise BenchError(f"{where} lacks the key {name!r}")
    hints = _hints(typing.cast(typing.Any, cls))
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [a for a in arguments if a is not type(None)]
        return _value(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise unknown(where, value, map(str, arguments))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise BenchError(f"{where} must be a list, not {value!r}")
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise BenchError(f"{where} must have {len(kinds)} values, not {value!r}")
        return tuple(_value(k, v, where) for k, v in zip(kinds, value, strict=True))
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any or origin_is_mapping(hint):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise BenchError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value


def origin_is_mapping(hint: Any) -> bool:
    """Whether a type is a plain dictionary, whose content is checked elsewhere."""
    return typing.get_origin(hint) is dict or hint is dict


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with nested ``changes``; a value that is no mapping replaces what was there."""
    result = dict(settings)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def to_dict(settings: Any) -> dict[str, Any]:
    """The settings as JSON values, tuples as lists."""
    return json.loads(to_text(settings))


def to_text(settings: Any) -> str:
    """The settings as JSON."""
    return json.dumps(settings, default=_fields)


def _fields(settings: Any) -> dict[str, Any]:
    return {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}


def identity(settings: Any) -> Any:
    """What of the settings changes a result: all fields not marked ``affects_result: False``.

    A field at its default is left out, so that a new setting keeps the ids of old runs. The price:
    the default of a setting must never change; a new behaviour is a new value.
    """
    if dataclasses.is_dataclass(settings):
        # settings are frozen, and many runs share them
        known = vars(settings).get("_identity")
        if known is None:
            known = {
                f.name: identity(getattr(settings, f.name))
                for f in dataclasses.fields(settings)
                if f.metadata.get("affects_result", True) and not _at_default(f, settings)
            }
            vars(settings)["_identity"] = known
        return known
    if isinstance(settings, (list, tuple)):
        return [identity(value) for value in settings]
    return settings


def _at_default(field: dataclasses.Field[Any], settings: Any) -> bool:
    value = getattr(settings, field.name)
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and value == field.default_factory()


def digest(*parts: Any) -> str:
    """Ten hexadecimal digits that depend on ``identity`` of the parts alone."""
    text = json.dumps([identity(p) for p in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
