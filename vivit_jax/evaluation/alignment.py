"""Whether two tables of predictions can be compared, and how they differ."""

from collections.abc import Sequence

import numpy as np

from vivit_jax.errors import UserError, nearest
from vivit_jax.evaluation.predictions import Table

# What two evaluations differ in without being another protocol.
_OWN = (
  'checkpoint',
  'step',
  'weights',
  'digest',
  'examples',
  'unreadable',
)


def examples(number: int) -> str:
  """Returns '1 example', '2 examples'."""
  return f'{number} example' + ('' if number == 1 else 's')


def heads(first: Table, second: Table, asked: Sequence[str]) -> list[str]:
  """Returns the heads of `asked`, or all, that both have; else a UserError."""
  there = [head for head in first.logits if head in second.logits]
  if not there:
    raise UserError(
      f'A has the heads {", ".join(first.logits)}, and B has '
      f'{", ".join(second.logits)}: none is in both.'
    )
  for head in asked:
    if head not in there:
      raise UserError(
        f"there is no head '{head}' in both; there is {', '.join(there)}."
        f'{nearest(head, there)}'
      )
  return [head for head in there if head in asked] if asked else there


def check_names(first: Table, second: Table, heads: Sequence[str]) -> None:
  """Raises a UserError unless class k has the same name in both."""
  for head in heads:
    names = [list(table.class_names[head]) for table in (first, second)]
    if len(names[0]) != len(names[1]):
      raise UserError(
        f'head {head} has {len(names[0])} classes in A and {len(names[1])} in '
        'B: evaluate both with the same label names.'
      )
    for place, (one, other) in enumerate(zip(*names, strict=True)):
      if one != other:
        raise UserError(
          f"class {place} of head {head} is '{one}' in A and '{other}' in B: "
          'evaluate both with the same label names.'
        )


def same_examples(
  first: Table, second: Table, common: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the rows of the same examples in both, in the first's order.

  Args:
    first, second: the tables.
    common: leave out what one of them lacks, which is a UserError otherwise.

  Returns:
    int [m] and int [m].
  """
  places = []
  for table, name in ((first, 'A'), (second, 'B')):
    place = {example: row for row, example in enumerate(table.ids)}
    if len(place) != len(table.ids):
      raise UserError(
        f'{name} has {examples(len(table.ids) - len(place))} twice: it is not '
        'one evaluation of one split.'
      )
    places.append(place)
  both = [example for example in first.ids if example in places[1]]
  if not both:
    raise UserError(
      'A and B have no example in common: evaluate both on the same split.'
    )
  if not common and not len(both) == len(first.ids) == len(second.ids):
    raise UserError(
      f'A has {examples(len(first.ids))} and B has {len(second.ids)}, of which '
      f'{len(both)} are in both: --common compares those.'
    )
  return tuple(
    np.array([place[example] for example in both]) for place in places
  )


def same_labels(
  first: Table,
  second: Table,
  heads: Sequence[str],
  rows_a: np.ndarray,
  rows_b: np.ndarray,
) -> dict[str, np.ndarray]:
  """Returns the labels of rows of both; UserError where they differ."""
  found = {}
  for head in heads:
    one, other = first.labels[head][rows_a], second.labels[head][rows_b]
    if one.ndim != other.ndim:
      raise UserError(
        f'head {head} has one label a video in A or B, and several in the '
        'other: evaluate both on the same dataset.'
      )
    differ = (one != other).reshape(len(one), -1).any(axis=1)
    if differ.any():
      example = first.ids[rows_a[differ.argmax()]]
      raise UserError(
        f"the label of '{example}' for head {head} is another in A than in B "
        f'({np.count_nonzero(differ)} of {len(one)} are): evaluate both on the '
        'same dataset.'
      )
    found[head] = one
  return found


def differences(
  first: Table,
  second: Table,
  heads: Sequence[str],
  averages: Sequence[str],
  count: int,
) -> list[str]:
  """Returns sentences on what else differs between the two."""
  notes = []
  if not count == len(first.ids) == len(second.ids):
    notes.append(
      f'in both there {"is" if count == 1 else "are"} {examples(count)}: of '
      f'{len(first.ids)} of A, and of {len(second.ids)} of B'
    )
  protocols = [
    {**table.protocol, 'average': how}
    for table, how in zip((first, second), averages, strict=True)
  ]
  differ = [
    f'{key} {_say(protocols[0].get(key))} and {_say(protocols[1].get(key))}'
    for key in dict.fromkeys([*protocols[0], *protocols[1]])
    if key not in _OWN and protocols[0].get(key) != protocols[1].get(key)
  ]
  if differ:
    notes.append(f'the protocols of A and B differ: {"; ".join(differ)}')
  left = [
    head
    for head in dict.fromkeys([*first.logits, *second.logits])
    if head not in heads
  ]
  if left:
    notes.append(f'not compared: {", ".join(left)}')
  digests = [protocol.get('digest') for protocol in protocols]
  if digests[0] is not None and digests[0] == digests[1]:
    notes.append('A and B have the same parameters')
  return notes


def _say(value: object) -> str:
  return 'unknown' if value is None else str(value)
