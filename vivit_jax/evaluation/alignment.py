"""Matches heads, examples and labels of two tables of predictions."""

import itertools
from collections.abc import Sequence

import numpy as np

from vivit_jax.errors import UserError
from vivit_jax.evaluation.predictions import Table

# Keys of the protocol that may differ between two models.
_IDENTITY = (
  'checkpoint', 'step', 'weights', 'digest', 'examples', 'unreadable',
)  # fmt: skip


def examples(number: int) -> str:
  """Returns '1 example', '2 examples'."""
  return f'{number} example' + ('' if number == 1 else 's')


def shared_heads(
  first: Table, second: Table, requested: Sequence[str]
) -> list[str]:
  """Returns the requested heads, or all shared heads if none is requested.

  Raises:
    UserError: no head is shared, or a requested one is not.
  """
  shared = [head for head in first.logits if head in second.logits]
  unknown = [head for head in requested if head not in shared]
  if unknown or not shared:
    what = f"the head '{unknown[0]}'" if unknown else 'any head'
    raise UserError(
      f'A and B do not share {what}: A has {", ".join(first.logits)}; '
      f'B has {", ".join(second.logits)}.'
    )
  return [head for head in shared if not requested or head in requested]


def shared_rows(
  first: Table, second: Table, common: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the row numbers of the m shared examples in each table, int [m].

  Raises:
    UserError: a table repeats an example, no example is shared, or an example
      is in one table only and `common` is False.
  """
  for table, name in ((first, 'A'), (second, 'B')):
    repeated = len(table.ids) - len(set(table.ids))
    if repeated:
      raise UserError(
        f'{name} repeats {examples(repeated)}: it is not one evaluation of one '
        'split.'
      )
  shared, rows_a, rows_b = np.intersect1d(
    np.asarray(first.ids, str),
    np.asarray(second.ids, str),
    assume_unique=True,
    return_indices=True,
  )
  if not len(shared):
    raise UserError('A and B share no example: evaluate both on one split.')
  if not common and not len(shared) == len(first.ids) == len(second.ids):
    raise UserError(
      f'A has {examples(len(first.ids))}, B has {len(second.ids)}, and they '
      f'share {len(shared)}: --common compares those.'
    )
  return rows_a, rows_b


def shared_labels(
  first: Table,
  second: Table,
  heads: Sequence[str],
  rows: tuple[np.ndarray, np.ndarray],
) -> dict[str, np.ndarray]:
  """Returns the labels of each head for the examples of `shared_rows`.

  Raises:
    UserError: labels or class names differ between the tables.
  """
  labels = {}
  for head in heads:
    one, other = first.labels[head][rows[0]], second.labels[head][rows[1]]
    names = itertools.zip_longest(
      first.class_names[head], second.class_names[head]
    )
    for k, (name, another) in enumerate(names):
      if name != another:
        raise _difference(head, f"class {k} is '{name}' and '{another}'")
    if one.ndim != other.ndim:
      raise _difference(head, 'one of them is multi-label')
    differ = (one != other).reshape(len(one), -1).any(axis=1)
    if differ.any():
      example = first.ids[rows[0][differ.argmax()]]
      raise _difference(
        head, f"labels of {np.count_nonzero(differ)} videos, first '{example}'"
      )
    labels[head] = one
  return labels


def _difference(head: str, what: str) -> UserError:
  return UserError(
    f'head {head} differs between A and B ({what}): evaluate both on the same '
    'dataset, with the same label names.'
  )


def differences(
  first: Table,
  second: Table,
  heads: Sequence[str],
  averages: Sequence[str],
  count: int,
) -> list[str]:
  """Returns notes on differences in examples, protocol and heads.

  `heads` are compared, by `averages` over views of each table, for `count`
  shared examples.
  """
  notes = []
  if not count == len(first.ids) == len(second.ids):
    notes.append(
      f'compared: {examples(count)}, of {len(first.ids)} in A and '
      f'{len(second.ids)} in B'
    )
  one, other = (
    {**table.protocol, 'average': average}
    for table, average in zip((first, second), averages, strict=True)
  )
  differ = [
    f'{key} {one.get(key)} and {other.get(key)}'
    for key in dict.fromkeys([*one, *other])
    if key not in _IDENTITY and one.get(key) != other.get(key)
  ]
  if differ:
    notes.append(f'the protocols of A and B differ: {"; ".join(differ)}')
  every = dict.fromkeys([*first.logits, *second.logits])
  ignored = [head for head in every if head not in heads]
  if ignored:
    notes.append(f'not compared: {", ".join(ignored)}')
  return notes
