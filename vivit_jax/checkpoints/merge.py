"""A checkpoint's arrays as a model's parameters, every array accounted for.

Arrays are joined by name. What the target's family can resize is resized; else
an array of equal shape is loaded. Another head is left as it was. Anything
missing or unused needs a reason of the family's; without one it is an error.
No parameter name of any model is known here.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from vivit_jax.checkpoints import class_order as orders
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import builder, classifier, pools
from vivit_jax.models.family import Resizing, Target
from vivit_jax.models.weights import Weights


@dataclasses.dataclass(frozen=True)
class Row:
  """What became of an array: 'loaded', 'adapted', 'fresh' or 'left over'."""

  what: str
  name: str
  why: str = ''


@dataclasses.dataclass(frozen=True)
class Merged:
  """The target's parameters, flat, and an account of all arrays.

  Attributes:
    arrays: by name, layers one by one.
    rows: one for each array of target and source.
    notes: for the user.
  """

  arrays: dict[str, np.ndarray]
  rows: list[Row]
  notes: list[str]

  def table(self) -> str:
    """Returns lines by kind: loaded ones counted, the others by name."""
    loaded = sum(row.what == 'loaded' for row in self.rows)
    lines = [f'{"loaded":>10}  {loaded} arrays as they are']
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in self.rows:
      if row.what != 'loaded':
        pattern = re.sub(r'block_\d+/', 'block_*/', row.name)
        groups.setdefault((row.what, pattern, row.why), []).append(row.name)
    for (what, pattern, why), names in groups.items():
      times = f' ({len(names)} arrays)' if len(names) > 1 else ''
      lines.append(f'{what:>10}  {pattern}{times}: {why}')
    lines += [f'{"note":>10}  {note}' for note in self.notes]
    return '\n'.join(lines)


def merge(
  source: Weights,
  fresh: Mapping[str, np.ndarray],
  target: Target,
  *,
  class_order: orders.Names | None = None,
  label_names: orders.Names | None = None,
) -> Merged:
  """Returns a model's parameters with what a checkpoint has for them.

  Args:
    source: the checkpoint.
    fresh: the model's own initial values by flat names, layers one by one; they
      stay where the source has nothing.
    target: the model.
    class_order: names of the source's outputs, where they are known.
    label_names: names of the model's outputs, where they are known.

  Raises:
    UserError: a model that cannot start this one, or an array that no rule
      explains, on either side.
  """
  source = reading_of(source, target)
  arrays = _renamed(source, target)
  notes = [
    *source.notes,
    *(f'trained with {one}' for one in differences(source, target)),
  ]
  arrays, head_how, head_why = orders.arrange(
    arrays, class_order or {}, label_names
  )
  if _starts_otherwise(source, target) and len(label_names or ()) > 1:
    head_why = head_why or 'one head there, several in the model'
  if _before_head(source.arrays) != _before_head(fresh):
    head_why = head_why or 'what is before it is not the same in both'
  if head_why:
    arrays = {n: a for n, a in arrays.items() if not classifier.is_head(n)}
  rows, result, unexplained = [], {}, []
  for name, start in fresh.items():
    result[name] = start
    found = arrays.get(name)
    if found is None:
      why = _why_missing(name, source, fresh, target, head_why)
      rows.append(Row('fresh', name, why or ''))
      if why is None:
        unexplained.append(f'{name} is missing.{nearest(name, arrays)}')
      continue
    value, how = _resized(name, found, start, source, target)
    if value is not None and value.shape == start.shape:
      if classifier.is_head(name):
        how = how or head_how
      result[name] = value
      rows.append(Row('adapted' if how else 'loaded', name, how))
    elif classifier.is_own(name):
      rows.append(Row('fresh', name, f'another head: {found.shape} there'))
    else:
      unexplained.append(
        f'{name} has shape {found.shape}, and the model wants {start.shape}.'
      )
  if head_why:
    theirs = [name for name in source.arrays if classifier.is_head(name)]
    rows += [Row('left over', name, head_why) for name in theirs]
  for name in arrays:
    if name not in fresh:
      why = _why_unused(name, source, fresh, target)
      rows.append(Row('left over', name, why or ''))
      if why is None:
        unexplained.append(f'{name} is of no use.{nearest(name, fresh)}')
  if unexplained:
    raise _mismatch(source, arrays, fresh, target, unexplained)
  return Merged(result, rows, notes)


def _mismatch(
  source: Weights,
  arrays: Mapping[str, np.ndarray],
  fresh: Mapping[str, np.ndarray],
  target: Target,
  unexplained: list[str],
) -> UserError:
  """Returns the error for arrays that do not fit, by their sizes if it can."""
  measure = target.family.measure
  these = f'these weights ({source.format}, {source.title})'
  try:
    theirs, ours = measure(arrays), measure(fresh)
  except Exception:  # of whatever shapes a file may hold
    theirs, ours = {}, {}
  sizes = [
    f'{key}={theirs[key]} (the model {ours[key]})'
    for key in theirs
    if key in ours and theirs[key] != ours[key]
  ]
  if sizes:
    return UserError(
      f'{these} are of another size: they have {", ".join(sizes)}: set '
      "model.size, or these keys of model.options, to the weights' own."
    )
  more = f' And {len(unexplained) - 5} more.' if len(unexplained) > 5 else ''
  return UserError(
    f'{these} do not fit the model: {" ".join(unexplained[:5])}{more}'
  )


def reading_of(source: Weights, target: Target) -> Weights:
  """Returns what a checkpoint's arrays are to a model with these options."""
  options = target.model.options
  for needed, reading in source.readings:
    if target.family.name in reading.models and all(
      getattr(options, key, None) == value for key, value in needed.items()
    ):
      return dataclasses.replace(reading, grid=source.grid)
  return source


def differences(source: Weights, target: Target) -> list[str]:
  """Returns in which keys the model is not as the source's own was.

  Those that change what the same arrays compute: options that the family notes,
  and the pool.
  """
  pool = builder.pool_of(target.model)
  pairs = {'model.pool': (source.pool, pool)} | {
    f'model.options.{key}': (
      source.options.get(key),
      getattr(target.model.options, key),
    )
    for key in target.family.noted
  }
  return [
    f'{key} {theirs}; the model has {mine}'
    for key, (theirs, mine) in pairs.items()
    if theirs is not None and theirs != mine
  ]


def _starts_otherwise(source: Weights, target: Target) -> bool:
  """Returns whether the source is another model that the family starts from."""
  return target.family.name not in source.models


def _renamed(source: Weights, target: Target) -> dict[str, np.ndarray]:
  """Returns the source's arrays in the target's names.

  Raises:
    UserError: a model that the target's family cannot start from, or weights
      trained for other options.
  """
  family = target.family
  if not _starts_otherwise(source, target):
    _check_options(source, target)
    return dict(source.arrays)
  for model in source.models:
    if model in family.starts_from:
      return dict(family.starts_from[model](source.arrays, target))
  others = ''.join(f', or start from an {name}' for name in family.starts_from)
  raise UserError(
    f'these weights ({source.format}) are of {source.title}, and the model is '
    f'{family.name}: one video model cannot start another; set model.family'
    f'{others}.'
  )


def _check_options(source: Weights, target: Target) -> None:
  """Raises a UserError for weights that would compute something else."""
  for key in target.family.binding:
    mine = getattr(target.model.options, key, None)
    theirs = source.options.get(key, mine)
    if mine is not None and theirs is not None and theirs != mine:
      raise UserError(
        f"these weights ({source.format}) have model.options.{key} '{theirs}', "
        f"and the model has '{mine}': set it to the weights' own (or, if they "
        'are otherwise than they seem, --config.init_options="'
        f'{{{key!r}: {mine!r}}}").'
      )


def _before_head(names: Mapping[str, np.ndarray]) -> tuple[bool, bool]:
  """Returns whether a representation layer, an attention pool are there."""
  pool = any(name.startswith(f'{pools.ATTENTION_HEAD}/') for name in names)
  return classifier.has_representation(names), pool


def _resized(
  name: str,
  found: np.ndarray,
  start: np.ndarray,
  source: Weights,
  target: Target,
) -> tuple[np.ndarray | None, str]:
  """Returns the array in the model's shape and how, or None."""
  found = np.asarray(found, np.float32)
  for pattern, resize in target.family.resize:
    if re.fullmatch(pattern, name):
      return resize(Resizing(name, found, start, source, target))
  return found, ''


def _why_missing(
  name: str,
  source: Weights,
  fresh: Mapping[str, np.ndarray],
  target: Target,
  head_why: str,
) -> str | None:
  """Returns why the source need not have an array; None if it must."""
  if classifier.is_head(name) and head_why:
    return head_why
  if classifier.is_own(name):
    return 'the source has no such head'
  return target.family.missing(name, source, fresh)


def _why_unused(
  name: str,
  source: Weights,
  fresh: Mapping[str, np.ndarray],
  target: Target,
) -> str | None:
  """Returns why the model has no use for an array; None if it should."""
  if classifier.is_own(name):
    return (
      'the model does not pool by attention'
      if name.startswith(f'{pools.ATTENTION_HEAD}/')
      else 'the model has no representation layer'
    )
  return target.family.unused(name, source, fresh)
