"""Merges a checkpoint's arrays into a model and records each array's status.

Arrays are matched by name. If the target's family has a resize function for an
array, it is resized; otherwise its shape must match. If the head's shape
differs, the model's head keeps its initial value. Any other missing or unused
array is an error unless the family explains it.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from vivit_jax.checkpoints import class_order as orders
from vivit_jax.errors import UserError, nearest
from vivit_jax.models import attention_pools, builder, classifier, pools
from vivit_jax.models.family import Resizing, Target
from vivit_jax.models.weights import Weights

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
  """Status of one array."""

  status: str  # 'loaded', 'adapted', 'fresh' (initial value) or 'unused'
  name: str
  reason: str = ''  # how it was adapted, or why it is fresh or unused


@dataclasses.dataclass(frozen=True)
class Merged:
  """The target's parameters and the status of every array."""

  arrays: dict[str, np.ndarray]  # by flat name, blocks unstacked
  rows: list[Row]  # one for each array of target or source
  notes: list[str]  # messages for the user

  def names(self, status: str) -> list[str]:
    """Returns the names of all arrays with a status."""
    return [row.name for row in self.rows if row.status == status]

  def table(self) -> str:
    """Returns rows and notes as text; loaded arrays are only counted."""
    loaded = len(self.names('loaded'))
    fates: dict[str, set[tuple[str, str]]] = {}
    for row in self.rows:
      part = row.name.partition('/')[0]
      fates.setdefault(part, set()).add((row.status, row.reason))
    lines = [f'{"loaded":>10}  {loaded} arrays unchanged']
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in self.rows:
      if row.status != 'loaded':
        pattern = re.sub(r'block_\d+/', 'block_*/', row.name)
        part, _, rest = row.name.partition('/')
        if rest and row.status == 'unused' and len(fates[part]) == 1:
          pattern = f'{part}/*'  # such as the decoder of a pretraining
        key = row.status, pattern, row.reason
        groups.setdefault(key, []).append(row.name)
    for (status, pattern, reason), names in groups.items():
      count = f' ({len(names)} arrays)' if len(names) > 1 else ''
      lines.append(f'{status:>10}  {pattern}{count}: {reason}')
    lines += [f'{"note":>10}  {note}' for note in self.notes]
    return '\n'.join(lines)


def merge(
  source: Weights,
  initial: Arrays,
  target: Target,
  *,
  class_order: orders.Names | None = None,
  label_names: orders.Names | None = None,
) -> Merged:
  """Returns a model's parameters with a checkpoint's arrays merged in.

  Args:
    source: the checkpoint.
    initial: the model's initial values by flat name, blocks unstacked. Shapes
      and dtypes suffice if the caller refuses 'fresh' arrays.
    target: the model.
    class_order: class names of the source, if known.
    label_names: class names of the model, if known.

  Raises:
    UserError: a source that cannot initialise this model, or a missing or
      unused array that the family does not explain.
  """
  source = _reading_of(source, target)
  arrays = _renamed(source, target)
  arrays, head_change, head_reason = orders.arrange(
    arrays, class_order or {}, label_names
  )
  head_reason = head_reason or _why_no_head(
    source, initial, target, len(label_names or ())
  )
  if head_reason:
    arrays = {n: x for n, x in arrays.items() if not classifier.is_head(n)}
  result, rows, errors = dict(initial), [], []
  pool = attention_pools.sizes(arrays)
  if pool != attention_pools.sizes(initial):  # it is loaded whole, or not
    arrays = {name: x for name, x in arrays.items() if name not in pool}
    rows += [Row('unused', name, 'the model has no such pool') for name in pool]
  for name, start in initial.items():
    if name not in arrays:
      reason = _why_missing(name, source, initial, target, head_reason)
      rows.append(Row('fresh', name, reason or ''))
      if reason is None:
        spare = arrays.keys() - initial.keys()
        errors.append(f'{name} is missing.{nearest(name, sorted(spare))}')
      continue
    value, change = _resized(name, arrays[name], start, source, target)
    if value is not None and value.shape == start.shape:
      if classifier.is_head(name):
        change = change or head_change
      result[name] = value
      rows.append(Row('adapted' if change else 'loaded', name, change))
    elif classifier.is_own(name):
      shape = arrays[name].shape
      rows.append(
        Row('fresh', name, f'that of the checkpoint has shape {shape}')
      )
    else:
      errors.append(
        f'{name} has shape {arrays[name].shape}, but the model {start.shape}.'
      )
  if head_reason:
    heads = filter(classifier.is_head, source.arrays)
    rows += [Row('unused', name, head_reason) for name in heads]
  for name in [name for name in arrays if name not in initial]:
    reason = _why_unused(name, source, initial, target)
    rows.append(Row('unused', name, reason or ''))
    if reason is None:
      lacking = sorted(initial.keys() - arrays.keys())
      errors.append(f'{name} is not in the model.{nearest(name, lacking)}')
  if errors:
    raise _mismatch(source, arrays, initial, target, errors)
  trained = [f'trained with {one}' for one in differences(source, target)]
  return Merged(result, rows, [*source.notes, *trained])


def _mismatch(
  source: Weights,
  arrays: Arrays,
  initial: Arrays,
  target: Target,
  errors: list[str],
) -> UserError:
  """Returns the error for arrays that do not fit; states sizes if possible."""
  infer = target.family.infer_sizes
  weights = f'these weights ({source.format}, {source.title})'
  try:
    theirs, ours = infer(arrays), infer(initial)
  except Exception:  # the arrays may have any shape
    theirs, ours = {}, {}
  sizes = [
    f'{key}={theirs[key]} (the model {ours[key]})'
    for key in theirs
    if key in ours and theirs[key] != ours[key]
  ]
  if sizes:
    return UserError(
      f'{weights} have another size: {", ".join(sizes)}: set model.size, or '
      "these keys of model.options, to the weights' values."
    )
  more = f' And {len(errors) - 5} more.' if len(errors) > 5 else ''
  return UserError(
    f'{weights} do not fit the model: {" ".join(errors[:5])}{more}'
  )


def _reading_of(source: Weights, target: Target) -> Weights:
  """Returns the one of `source.readings` that fits the target, else the source.

  It keeps the grid and options that the user states.
  """
  options = target.model.options
  for needed, reading in source.readings:
    if target.family.name in reading.models and all(
      getattr(options, key, None) == value for key, value in needed.items()
    ):
      stated = {**reading.options, **source.options}
      return dataclasses.replace(reading, grid=source.grid, options=stated)
  return source


def differences(source: Weights, target: Target) -> list[str]:
  """Returns settings that changed since training, as text.

  Compares the settings of the pool and the family's `reported_options`, which
  change the output though all arrays fit.
  """
  options = target.model.options
  theirs = source.pool or {}
  pool = builder.pool_settings(target.model).items()
  pairs = {key: (theirs.get(key), ours) for key, ours in pool} | {
    f'model.options.{key}': (source.options.get(key), getattr(options, key))
    for key in target.family.reported_options
  }
  return [
    f'{key} {theirs}; the model has {ours}'
    for key, (theirs, ours) in pairs.items()
    if theirs is not None and theirs != ours
  ]


def _renamed(source: Weights, target: Target) -> dict[str, np.ndarray]:
  """Returns the source's arrays under the target's names.

  Raises:
    UserError: a model that the target's family cannot be initialised from, or
      weights trained with other options.
  """
  family = target.family
  if family.name in source.models:
    _check_options(source, target)
    return dict(source.arrays)
  for model in source.models:
    if model in family.initialises_from:
      return dict(family.initialises_from[model](source.arrays, target))
  others = ''.join(f', or start from an {m}' for m in family.initialises_from)
  raise UserError(
    f'these weights ({source.format}) are of {source.title}, but the model is '
    f'{family.name}: set model.family{others}.'
  )


def _check_options(source: Weights, target: Target) -> None:
  """Raises a UserError if `Family.fixed_options` differ from the source's."""
  for key in target.family.fixed_options:
    ours = getattr(target.model.options, key, None)
    theirs = source.options.get(key)
    if None not in (ours, theirs) and ours != theirs:
      raise UserError(
        f'these weights ({source.format}) have model.options.{key} {theirs!r}, '
        f'but the model has {ours!r}: set it to {theirs!r}, or override '
        f'it with --config.init_options="{{{key!r}: {ours!r}}}".'
      )


def _why_no_head(
  source: Weights, initial: Arrays, target: Target, heads: int
) -> str:
  """Returns why the source's head cannot be used in the model, or ''."""
  if classifier.classes_of(source.arrays) is None:
    return ''
  if target.family.name not in source.models and heads > 1:
    return 'the checkpoint has one head, the model several'
  if any(
    has(source.arrays) != has(initial)
    for has in (
      classifier.has_representation,
      attention_pools.sizes,
      pools.has_norm,
    )
  ):
    return 'the layers before the head differ'
  return ''


def _resized(
  name: str,
  value: np.ndarray,
  start: np.ndarray,
  source: Weights,
  target: Target,
) -> tuple[np.ndarray | None, str]:
  """Resizes an array if the family has a function for it; see `Resized`."""
  value = np.asarray(value, np.float32)
  for pattern, resize in target.family.resize:
    if re.fullmatch(pattern, name):
      return resize(Resizing(name, value, start, source, target))
  return value, ''


def _why_missing(
  name: str, source: Weights, initial: Arrays, target: Target, head_reason: str
) -> str | None:
  """Returns why the source may lack an array; None if it must not."""
  if classifier.is_head(name) and head_reason:
    return head_reason
  reason = target.family.explain_missing(name, source, initial)
  if attention_pools.is_attention_pool([name]):
    return 'the checkpoint has no such pool'
  if classifier.is_own(name):
    return reason or 'the checkpoint has no such head'
  return reason


def _why_unused(
  name: str, source: Weights, initial: Arrays, target: Target
) -> str | None:
  """Returns why the model may lack an array; None if it must not."""
  if pools.has_norm([name]):
    return 'the model has no norm after the mean'
  if classifier.is_own(name):
    return 'the model has no representation layer'
  return target.family.explain_unused(name, source, initial)
