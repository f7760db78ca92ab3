"""Matches a checkpoint's classes to the model's and reorders its head."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from vivit_jax.data import annotations
from vivit_jax.models import classifier

Names = Mapping[str, Sequence[str]]  # head -> class names, in output order


def order_of(class_order: str | None, own: Names | None) -> Names:
  """Returns a checkpoint's class names, without heads that have placeholders.

  The JSON file `class_order`, if any, replaces the checkpoint's `own` names.

  Raises:
    UserError: a file that cannot be read.
  """
  if class_order is not None:
    return annotations.read_label_names(class_order)
  # Placeholders of Hugging Face and of `pretrained`.
  unnamed = re.compile(r'LABEL_\d+|class \d+')
  return {
    head: classes
    for head, classes in (own or {}).items()
    if not all(unnamed.fullmatch(name) for name in classes)
  }


def arrange(
  arrays: Mapping[str, np.ndarray], order: Names, wanted: Names | None
) -> tuple[dict[str, np.ndarray], str, str]:
  """Reorders a checkpoint's head columns for the model, or drops the head.

  Args:
    arrays: the checkpoint's arrays.
    order: the checkpoint's class names, for the heads that have some. If all
      do, the heads are in the order of the columns.
    wanted: the model's class names, if known.

  Returns:
    The arrays; how the head was changed, or ''; why it was dropped, or ''.
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
      why = why or f'the checkpoint has another head, of shape {array.shape}'
    else:
      arrays[name] = array[..., columns]
  return arrays, '' if why else "columns in the dataset's order", why


def _columns(order: Names, wanted: Names) -> tuple[list[int], str]:
  """Returns the column of each wanted class, or why the classes differ."""
  if not set(order) <= set(wanted):
    return [], f'the checkpoint has other heads: {", ".join(sorted(order))}'
  # Unless all heads have names, the columns are assumed to be in the model's
  # order of heads.
  sequence = order if set(order) == set(wanted) else wanted
  starts, first = {}, 0
  for head in sequence:
    starts[head] = first
    first += len(order.get(head, wanted[head]))
  columns: list[int] = []
  for head, names in wanted.items():
    theirs = order.get(head, names)
    if list(theirs) == list(names):
      columns += range(starts[head], starts[head] + len(names))
      continue
    if len(set(theirs)) < len(theirs):
      return [], f'two classes of head {head} have the same name'
    different = set(theirs) ^ set(names)
    if different or len(theirs) != len(names):
      one = min(different, default='')
      return [], (
        f"other classes: only the checkpoint or the model has '{one}' of head "
        f"{head}; list the checkpoint's classes with "
        '--config.class_order=FILE.json'
      )
    number = {name: column for column, name in enumerate(theirs)}
    columns += [starts[head] + number[name] for name in names]
  return columns, ''
