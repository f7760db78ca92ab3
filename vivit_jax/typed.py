"""Nested mappings, as of a ConfigDict or a JSON, as typed dataclasses.

Every mistake is a `UserError` that names the key, as in 'train.batch_size'.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vivit_jax.errors import UserError, nearest

if typing.TYPE_CHECKING:
  import ml_collections


def limited(
  default: Any, *, at_least: float | None = None, above: float | None = None
) -> Any:
  """Returns a dataclass field whose numbers `parse` checks; None is allowed."""
  limits = {'at_least': at_least, 'above': above}
  return dataclasses.field(default=default, metadata=limits)


def keys(kind: type) -> list[str]:
  """Returns all keys of a dataclass of dataclasses, dotted, in order."""

  def find(kind: type, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
      if dataclasses.is_dataclass(hint):
        yield from find(hint, f'{prefix}{name}.')
      else:
        yield prefix + name

  return list(find(kind, ''))


def flat(value: Any) -> dict[str, Any]:
  """Returns the values of a dataclass of dataclasses by their dotted keys."""

  def flatten(tree: Mapping, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, part in tree.items():
      if isinstance(part, Mapping) and part:
        yield from flatten(part, f'{prefix}{key}.')
      else:
        yield prefix + key, part

  return dict(flatten(dataclasses.asdict(value), ''))


def to_config_dict(value: Any) -> ml_collections.ConfigDict:
  """Returns a dataclass of dataclasses as a locked ConfigDict.

  What may be None becomes a placeholder, so that None does not fix its type.
  """
  import ml_collections  # the train step does without
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
  section: str = '',
  unknown: Callable[[str], str] | None = None,
) -> Any:
  """Returns nested mappings as an instance of a dataclass of dataclasses.

  Fields are dataclasses, `X | None`, Literals, tuples, Mappings of one type of
  values, Any, or of a plain type; an int will do as a float.

  Args:
    kind: the dataclass.
    mapping: of its fields' names.
    section: dotted name of the whole, for errors.
    unknown: dotted key -> the sentence for one that there is not.

  Raises:
    UserError: an unknown key, a value of a wrong type, or a number that is not
      finite or not within its limits.
  """

  def whole(kind: type, value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
      raise UserError(f'{key} is {value!r}; it is a section of keys.')
    hints = typing.get_type_hints(kind)
    fields = {}
    for name, part in value.items():
      path = f'{key}.{name}' if key else name
      if name not in hints:
        raise UserError(
          unknown(path)
          if unknown
          else f"unknown config key '{path}'.{nearest(path, keys(root))}"
        )
      convert = whole if dataclasses.is_dataclass(hints[name]) else _value
      fields[name] = convert(hints[name], part, path)
    for field in dataclasses.fields(kind):
      if field.metadata and field.name in fields:
        path = f'{key}.{field.name}' if key else field.name
        _check_limits(path, fields[field.name], **field.metadata)
    return kind(**fields)

  root = kind
  return whole(kind, mapping, section)


def check_choices(value: Any, section: str) -> None:
  """Raises a UserError for a value that a dataclass's Literals do not allow.

  `parse` checks what it makes; this is for what was made without it.

  Args:
    value: the dataclass.
    section: dotted name of the whole, for errors.
  """
  for name, hint in typing.get_type_hints(type(value)).items():
    if typing.get_origin(hint) is typing.Literal:
      _value(hint, getattr(value, name), f'{section}.{name}')


def _check_limits(
  key: str, value: Any, at_least: float | None, above: float | None
) -> None:
  for number in value if isinstance(value, tuple) else (value,):
    if number is None:
      continue
    if at_least is not None and number < at_least:
      raise UserError(f'{key} is {value}; at least {at_least}.')
    if above is not None and number <= above:
      raise UserError(f'{key} is {value}; above {above}.')


def _may_be_none(hint: Any) -> bool:
  """Returns whether a hint is `X | None`, however it is written."""
  return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _value(kind: Any, value: Any, key: str) -> Any:
  """Returns `value` as an instance of a type hint."""
  if kind is Any:
    return value
  if _may_be_none(kind):
    return (
      None if value is None else _value(typing.get_args(kind)[0], value, key)
    )
  origin, arguments = typing.get_origin(kind), typing.get_args(kind)
  if origin is typing.Literal:
    if value not in arguments:
      choices = ', '.join(str(choice) for choice in arguments)
      raise UserError(
        f'{key} is {value!r}; it takes one of {choices}.'
        f'{nearest(str(value), map(str, arguments))}'
      )
    return value
  if origin is tuple:
    if not isinstance(value, list | tuple):
      raise UserError(f'{key} is {value!r}; it takes several values.')
    if arguments[-1] is ...:
      arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
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
