"""Predicts a whole split: every example once, without padding."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vivit_jax import distributed
from vivit_jax.errors import UserError
from vivit_jax.evaluation.predictions import Predictions


def predict_split(
  batches: Iterable[Mapping[str, Any]],
  forward: Callable[[Mapping[str, Any]], Mapping[str, Any]],
  example_count: int,
  *,
  done: Predictions | None = None,
  keep: Callable[[Predictions], None] = lambda batch: None,
) -> Predictions:
  """Predicts every example of a split exactly once, over all processes.

  Args:
    batches: this process's share of the split, in any order. Each has 'video'
      uint8 [b, V, T, H, W, 3], 'labels' of each head, 'mask' bool [b] (False:
      padding), 'unreadable' bool [b] (True: the video cannot be read) and
      'index' int [b], the index in the split. An iterator with `close` is
      closed at the end and after an error.
    forward: maps a batch to logits [b, V, K] of each head; may return before
      they are computed, as jax does.
    example_count: number of examples in the split.
    done: earlier predictions, for examples that are not in `batches`. Each is
      in one process only; other processes pass empty arrays.
    keep: called with the predictions of each batch, without padding.

  Returns:
    The predictions of all processes, for the heads of `forward`, in the order
    of the split.

  Raises:
    UserError: the split has no readable examples.
    RuntimeError: `batches` and `done` do not have each example once.
  """
  rows = [] if done is None else [done]
  waiting = None

  def finish(batch, logits):
    rows.append(_read(batch, logits))
    keep(rows[-1])

  iterator = iter(batches)
  try:
    for batch in iterator:
      ahead = batch, forward(batch)
      # Wait for a batch only while the device works on the next one.
      if waiting is not None:
        finish(*waiting)
      waiting = ahead
    if waiting is not None:
      finish(*waiting)
  finally:
    # Ends the iterator's worker processes.
    if hasattr(iterator, 'close'):
      iterator.close()
  empty = [np.zeros(0, int)]
  index = np.concatenate([row.index for row in rows] or empty)
  unreadable = np.concatenate([row.unreadable for row in rows] or empty)
  index, unreadable = distributed.gather((index, unreadable))
  _check_once(np.concatenate([index, unreadable]), example_count)
  if not index.size:
    raise UserError('no video of the split can be read.')
  order = np.argsort(index)
  return Predictions(
    logits=_gather([row.logits for row in rows], order),
    labels=_gather([row.labels for row in rows], order),
    index=index[order],
    unreadable=np.sort(unreadable),
  )


def _read(batch: Mapping[str, Any], logits: Mapping[str, Any]) -> Predictions:
  """Waits for the logits of a batch and drops padding and unreadable videos."""
  mask, unreadable = (
    np.asarray(batch[key], bool) for key in ('mask', 'unreadable')
  )
  read = mask & ~unreadable
  index = np.asarray(batch['index'])
  return Predictions(
    logits={
      head: np.asarray(values, np.float32)[read]
      for head, values in logits.items()
    },
    labels={head: np.asarray(batch['labels'][head])[read] for head in logits},
    index=index[read],
    unreadable=index[mask & unreadable],
  )


def _gather(
  rows: list[dict[str, np.ndarray]], order: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns arrays with the examples of all processes, sorted by `order`."""
  heads = sorted(rows[0])
  every = {head: np.concatenate([row[head] for row in rows]) for head in heads}
  return {head: x[order] for head, x in distributed.gather(every).items()}


def _check_once(index: np.ndarray, example_count: int) -> None:
  expected = np.arange(example_count)
  if not np.array_equal(np.sort(index), expected):
    missing = np.setdiff1d(expected, index)
    raise RuntimeError(
      f'the batches do not hold each of {example_count} examples once: they '
      f'hold {index.size}, and lack {missing.size} (first: {missing[:5]}).'
    )
