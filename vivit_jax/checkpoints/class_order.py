"""Whether a checkpoint's outputs are the model's, and in which order."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from vivit_jax.data import annotations
from vivit_jax.models import classifier

Names = Mapping[str, Sequence[str]]  # of each head, in the order of its outputs


def order_of(class_order: str | None, own: Names | None) -> Names:
  """Returns the names of a checkpoint's outputs, of heads that are named.

  Args:
    class_order: JSON file of a config; it counts before the checkpoint's own.
    own: what the checkpoint tells.

  Raises:
    UserError: a file that cannot be read.
  """
  if class_order is not None:
    return annotations.read_label_names(class_order)
  # Hugging Face's names, and ours, of classes without names.
  unnamed = re.compile(r'LABEL_\d+|class \d+')
  return {
    head: classes
    for head, classes in (own or {}).items()
    if not all(unnamed.fullmatch(name) for name in classes)
  }


def numbered(heads: Mapping[str, int]) -> dict[str, list[str]]:
  """Names classes that have no names, of heads with so many of them."""
  return {
    head: [f'class {number}' for number in range(classes)]
    for head, classes in heads.items()
  }


def arrange(
  arrays: Mapping[str, np.ndarray], order: Names, wanted: Names | None
) -> tuple[dict[str, np.ndarray], str, str]:
  """Puts the columns of a head into the wanted order, or leaves the head out.

  Args:
    arrays: of a checkpoint; what has no head stays as it is.
    order: names of its outputs, of heads that are named; of all heads, in the
      order of the heads.
    wanted: names of the model's outputs; None if they are not known.

  Returns:
    The arrays; how the head was changed, or ''; why it was left out, or ''.
  """
  arrays = dict(arrays)
  head = {n: a for n, a in arrays.items() if classifier.is_head(n)}
  if not head or not wanted or not order:
    return arrays, '', ''
  columns, why = _columns(order, wanted)
  if not why and columns == list(range(len(columns))):
    return arrays, '', ''
  for name, array in head.items():
    if why or array.shape[-1] != len(columns):
      del arrays[name]
      why = why or f'another head: {array.shape} there'
    else:
      arrays[name] = array[..., columns]
  return arrays, '' if why else "columns in the order of the dataset's", why


def _columns(order: Names, wanted: Names) -> tuple[list[int], str]:
  """Returns the places of the wanted outputs, or why there are none."""
  if not set(order) <= set(wanted):
    return [], f'another head: {", ".join(sorted(order))} there'
  # A full order gives the order of the heads too; else it is the model's.
  sequence = order if set(order) == set(wanted) else wanted
  starts, first = {}, 0
  for head in sequence:
    starts[head] = first
    first += len(order.get(head, wanted[head]))
  columns: list[int] = []
  for head, names in wanted.items():
    there = order.get(head, names)
    if list(there) == list(names):
      columns += range(starts[head], starts[head] + len(names))
      continue
    if len(set(there)) < len(there):
      return [], f'two classes of head {head} have one name there'
    strange = set(there) ^ set(names)
    if strange or len(there) != len(names):
      return [], (
        f"other classes: '{min(strange)}' of head {head} is in one of them "
        "alone; name them in the checkpoint's order by "
        '--config.class_order=FILE.json'
      )
    place = {name: number for number, name in enumerate(there)}
    columns += [starts[head] + place[name] for name in names]
  return columns, ''
