"""Predictions for a whole split: every example once, padding dropped."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vivit_jax import distributed
from vivit_jax.errors import UserError
from vivit_jax.evaluation.predictions import Predictions


def score_split(
  batches: Iterable[Mapping[str, Any]],
  forward: Callable[[np.ndarray], Mapping[str, Any]],
  example_count: int,
  *,
  done: Predictions | None = None,
  keep: Callable[[Predictions], None] = lambda batch: None,
) -> Predictions:
  """Predicts every example of a split exactly once, over all processes.

  Args:
    batches: of 'video' uint8 [b, V, T, H, W, 3], 'labels' of each head, 'mask'
      bool [b] (False: padding, whatever it holds), 'unreadable' bool [b]
      (examples whose video could not be had) and 'index' int [b], places in
      the split, in any order: this process's share. Its iterator is closed at
      the end, or at an error, where it can be.
    forward: video -> logits [b, V, K] of each head; it may return before they
      are computed, as jax does.
    example_count: n, of the split.
    done: examples that were predicted before, and are not in `batches`; each in
      one process. Of the others, shapes and types count.
    keep: called with each batch, padding dropped, when it is predicted.

  Returns:
    The predictions for the heads that `forward` has, all of them to each
    process.

  Raises:
    UserError: a split without examples, or without one that can be read.
    RuntimeError: examples that `batches` repeats, misses or invents.
  """
  if not example_count:
    raise UserError('the split has no examples to evaluate: prepare it anew.')
  rows = [] if done is None else [done]
  waiting = None

  def finish(batch, logits):
    rows.append(_read(batch, logits))
    keep(rows[-1])

  iterator = iter(batches)
  try:
    for batch in iterator:
      ahead = batch, forward(batch['video'])
      # Only now, so that the device always has the next batch to work on.
      if waiting is not None:
        finish(*waiting)
      waiting = ahead
    if waiting is not None:
      finish(*waiting)
  finally:
    # An iterator with worker processes would leave them behind.
    if hasattr(iterator, 'close'):
      iterator.close()
  nothing = [np.zeros(0, int)]
  index = np.concatenate([row.index for row in rows] or nothing)
  unreadable = np.concatenate([row.unreadable for row in rows] or nothing)
  index, unreadable = distributed.gather((index, unreadable))
  _check_once(np.concatenate([index, unreadable]), example_count)
  if not index.size:
    raise UserError('none of the videos of the split can be read.')
  order = np.argsort(index)
  return Predictions(
    logits=_gather([row.logits for row in rows], order),
    labels=_gather([row.labels for row in rows], order),
    index=index[order],
    unreadable=np.sort(unreadable),
  )


def _read(batch: Mapping[str, Any], logits: Mapping[str, Any]) -> Predictions:
  """Waits for a batch's logits and drops the padding."""
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
  heads = sorted(rows[0])
  every = {head: np.concatenate([row[head] for row in rows]) for head in heads}
  return {head: x[order] for head, x in distributed.gather(every).items()}


def _check_once(index: np.ndarray, example_count: int) -> None:
  """Raises a RuntimeError unless `index` has each of 0 to n - 1 once."""
  places, times = np.unique(index, return_counts=True)
  expected = np.arange(example_count)
  faults = {
    'repeated': places[times > 1],
    'missing': np.setdiff1d(expected, places),
    'not in the split': np.setdiff1d(places, expected),
  }
  told = [
    f'{_first_few(found)} {fault}'
    for fault, found in faults.items()
    if found.size
  ]
  if told:
    raise RuntimeError(
      f'the batches do not give each of {example_count} examples once: '
      f'{"; ".join(told)}.'
    )


def _first_few(places: np.ndarray) -> str:
  first = ', '.join(str(place) for place in places[:5])
  more = f' and {places.size - 5} more' if places.size > 5 else ''
  return f'{first}{more}'
