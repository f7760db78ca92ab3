"""Nested mappings, as of a ConfigDict or a JSON, as typed dataclasses.

Every mistake is a `UserError` that names the key, as in 'train.batch_size'.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from vivit_jax.errors import UserError, nearest


def keys(kind: type) -> list[str]:
  """Returns all keys of a dataclass of dataclasses, dotted, in order."""

  def find(kind: type, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
      if dataclasses.is_dataclass(hint):
        yield from find(hint, f'{prefix}{name}.')
      else:
        yield prefix + name

  return list(find(kind, ''))


def meant(kind: type, key: str) -> str:
  """Returns " Did you mean 'x'?" for a key that there is not, or "".

  The same name in another section comes before a similar name.
  """
  known = keys(kind)
  known += sorted({k.partition('.')[0] for k in known if '.' in k})
  name = key.rpartition('.')[2]
  same = [other for other in known if other.rpartition('.')[2] == name]
  return nearest(key, same, at_least=0.0) or nearest(key, known)


def to_config_dict(value: Any) -> ml_collections.ConfigDict:
  """Returns a dataclass of dataclasses as a locked ConfigDict.

  What may be None becomes a placeholder, so that None does not fix its type.
  """

  def convert(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
      hints = typing.get_type_hints(type(value))
      return {
        field.name: convert(getattr(value, field.name), hints[field.name])
        for field in dataclasses.fields(value)
      }
    if isinstance(hint, types.UnionType):
      kind = typing.get_args(hint)[0]
      placeholder = config_dict.placeholder(typing.get_origin(kind) or kind)
      placeholder.set(value)
      return placeholder
    return dict(value) if isinstance(value, Mapping) else value

  return ml_collections.ConfigDict(convert(value, None)).lock()


def parse(kind: type, mapping: Mapping[str, Any]) -> Any:
  """Returns nested mappings as an instance of a dataclass of dataclasses.

  Fields are dataclasses, `X | None`, tuples of fixed length, Mappings of one
  type of values, or of a plain type; an int will do as a float.

  Raises:
    UserError: an unknown key, a value of a wrong type, or no finite number.
  """

  def section(kind: type, value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
      raise UserError(f'{key} is {value!r}; it is a section of keys.')
    hints = typing.get_type_hints(kind)
    fields = {}
    for name, part in value.items():
      path = f'{key}.{name}' if key else name
      if name not in hints:
        raise UserError(f"unknown config key '{path}'.{meant(root, path)}")
      convert = section if dataclasses.is_dataclass(hints[name]) else _value
      fields[name] = convert(hints[name], part, path)
    return kind(**fields)

  root = kind
  return section(kind, mapping, '')


def _value(kind: Any, value: Any, key: str) -> Any:
  """Returns `value` as an instance of a type hint."""
  if isinstance(kind, types.UnionType):
    return (
      None if value is None else _value(typing.get_args(kind)[0], value, key)
    )
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is tuple:
    if not isinstance(value, list | tuple) or len(value) != len(arguments):
      raise UserError(f'{key} is {value!r}; it takes {len(arguments)} values.')
    return tuple(_value(a, v, key) for a, v in zip(arguments, value))
  if origin is not None:  # Mapping[str, int]
    if not isinstance(value, Mapping):
      raise UserError(f'{key} is {value!r}; it takes a mapping.')
    return {k: _value(arguments[1], v, f'{key}.{k}') for k, v in value.items()}
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise UserError(f'{key} is {value!r}; it takes a value of {kind.__name__}.')
  if kind is float and not math.isfinite(value):
    raise UserError(f'{key} is {value}; it takes a finite number.')
  return value
