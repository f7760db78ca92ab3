"""Parses nested mappings, from a ConfigDict or JSON, into checked dataclasses.

Every mistake is a `UserError` that names the dotted key, 'train.batch_size'.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vivit_jax.errors import UserError, nearest

if typing.TYPE_CHECKING:
  import ml_collections


_LIMITS = {
  'at_least': ('at least', operator.ge),
  'above': ('above', operator.gt),
  'at_most': ('at most', operator.le),
  'below': ('below', operator.lt),
}


def limited(default: Any, **limits: float) -> Any:
  """Returns a dataclass field with limits, which `parse` and `check` apply.

  Limits are at_least, above, at_most and below. None is always allowed. They
  apply to each number of a tuple.
  """
  return dataclasses.field(default=default, metadata=limits)


def keys(kind: type) -> list[str]:
  """Returns the dotted keys of nested dataclasses, in order."""

  def find(kind: type, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
      if dataclasses.is_dataclass(hint):
        yield from find(hint, f'{prefix}{name}.')
      else:
        yield prefix + name

  return list(find(kind, ''))


def flat(value: Any) -> dict[str, Any]:
  """Returns the values of nested dataclasses by dotted key."""

  def flatten(tree: Mapping, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, part in tree.items():
      if isinstance(part, Mapping) and part:
        yield from flatten(part, f'{prefix}{key}.')
      else:
        yield prefix + key, part

  return dict(flatten(dataclasses.asdict(value), ''))


def to_config_dict(value: Any) -> ml_collections.ConfigDict:
  """Returns nested dataclasses as a locked ConfigDict.

  An optional value becomes a placeholder, which accepts its type and None.
  """
  import ml_collections  # not needed for training from typed configs
  from ml_collections import config_dict

  def convert(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
      hints = typing.get_type_hints(type(value))
      return {
        field.name: convert(getattr(value, field.name), hints[field.name])
        for field in dataclasses.fields(value)
      }
    if _may_be_none(hint):
      kind = typing.get_args(hint)[0]
      if typing.get_origin(kind) is typing.Literal:
        kind = type(typing.get_args(kind)[0])
      placeholder = config_dict.placeholder(typing.get_origin(kind) or kind)
      placeholder.set(value)
      return placeholder
    return dict(value) if isinstance(value, Mapping) else value

  return ml_collections.ConfigDict(convert(value, None)).lock()


def parse(
  kind: type,
  mapping: Mapping[str, Any],
  section: str,
  unknown: Callable[[str], str],
) -> Any:
  """Returns nested mappings as an instance of nested dataclasses.

  A field may be a dataclass, `X | None`, a Literal, a tuple, a Mapping with
  values of one type, Any, or a plain type. A float field accepts an int, and a
  Literal that may be None accepts 'none'.

  Args:
    kind: the dataclass.
    mapping: field names and values.
    section: dotted name of the mapping, for errors.
    unknown: unknown dotted key -> error message.

  Raises:
    UserError: an unknown key, a value of a wrong type, a number that is not
      finite or not within its limits.
  """

  def parse_section(kind: type, value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
      raise UserError(f'{key} is {value!r}; it is a section of keys.')
    hints = typing.get_type_hints(kind)
    fields = {}
    for name, part in value.items():
      path = f'{key}.{name}' if key else name
      if name not in hints:
        raise UserError(unknown(path))
      nested = dataclasses.is_dataclass(hints[name])
      convert = parse_section if nested else _value
      fields[name] = convert(hints[name], part, path)
    return kind(**fields)

  result = parse_section(kind, mapping, section)
  check(result, section)
  return result


def check(value: Any, section: str = '') -> None:
  """Checks the Literals and limits of nested dataclasses, as `parse` does.

  Raises:
    UserError: a value that is not allowed, of which it names the dotted key.
  """
  hints = typing.get_type_hints(type(value))
  for field in dataclasses.fields(value):
    key = f'{section}.{field.name}' if section else field.name
    part, hint = getattr(value, field.name), hints[field.name]
    if dataclasses.is_dataclass(part):
      check(part, key)
      continue
    if _may_be_none(hint) and part is not None:
      hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
      _value(hint, part, key)
    for number in part if isinstance(part, tuple) else (part,):
      if number is not None and not all(
        _LIMITS[name][1](number, limit)
        for name, limit in field.metadata.items()
      ):
        allowed = ' and '.join(
          f'{_LIMITS[name][0]} {limit}'
          for name, limit in field.metadata.items()
        )
        raise UserError(f'{key} is {part}; it must be {allowed}.')


def _may_be_none(hint: Any) -> bool:
  """Returns whether a hint is `X | None` or `Optional[X]`."""
  return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _value(kind: Any, value: Any, key: str) -> Any:
  """Returns `value` converted to a type hint, or raises a UserError."""
  if kind is Any:
    return value
  if _may_be_none(kind):
    kind = typing.get_args(kind)[0]
    if value is None:
      return None
    if typing.get_origin(kind) is typing.Literal:
      kind = typing.Literal[(*typing.get_args(kind), None)]
      if value == 'none' and 'none' not in typing.get_args(kind):
        return None
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is typing.Literal:
    if (type(value), value) not in [(type(x), x) for x in arguments]:
      choices = ', '.join(str(choice) for choice in arguments)
      raise UserError(
        f'{key} is {value!r}; it takes one of {choices}.'
        f'{nearest(str(value), map(str, arguments))}'
      )
    return value
  if origin is tuple:
    count = 'several' if arguments[-1] is ... else len(arguments)
    if not isinstance(value, list | tuple):
      raise UserError(f'{key} is {value!r}; it takes {count} values.')
    if arguments[-1] is ...:
      arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
      raise UserError(f'{key} is {value!r}; it takes {count} values.')
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
