"""Every example once: whatever the batches' order, size and padding."""

import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation.predict_split import predict_split
from vivit_jax.evaluation.predictions import Predictions


def batch_of(*index: int, padding: int = 0) -> dict:
  """A batch whose videos hold their example's number in every pixel.

  Padding holds NaN in its videos, repeats example 0's index, and has a label
  that no head has.
  """
  numbers = np.array([*index, *[0] * padding])
  mask = np.arange(len(numbers)) < len(index)
  video = np.ones((len(numbers), 1, 2, 4, 4, 3), np.float32)
  video *= np.where(mask, numbers, np.nan)[:, None, None, None, None, None]
  return {
    'video': video,
    'labels': {
      'label': np.where(mask, numbers % 3, -7).astype(np.int32),
      'unused': numbers.astype(np.int32),
    },
    'mask': mask,
    'unreadable': np.zeros_like(mask),
    'index': numbers,
  }


def forward(batch):
  number = jnp.asarray(batch['video']).mean((1, 2, 3, 4, 5))
  return {'label': jnp.stack([number, number**2, -number], axis=1)}


def check(predictions: Predictions, count: int) -> None:
  numbers = np.arange(count)
  np.testing.assert_array_equal(predictions.index, numbers)
  assert list(predictions.logits) == list(predictions.labels) == ['label']
  np.testing.assert_allclose(
    predictions.logits['label'], np.stack([numbers, numbers**2, -numbers], 1)
  )
  np.testing.assert_array_equal(predictions.labels['label'], numbers % 3)
  assert predictions.logits['label'].dtype == np.float32
  assert predictions.labels['label'].dtype == np.int32


def test_shuffled_ragged_and_padded_batches():
  batches = [batch_of(4, 0, 6), batch_of(2, padding=3), batch_of(padding=2)]
  batches += [batch_of(5, 1), batch_of(3)]
  check(predict_split(batches, forward, 7), 7)


@pytest.mark.parametrize(
  'batches',
  [
    [batch_of(0, 1), batch_of(1, 2)],
    [batch_of(0, 1, 2, 3, 9)],
    [batch_of(0, 1, 2, padding=1)],
    [],
  ],
)
def test_examples_that_do_not_come_once(batches):
  with pytest.raises(RuntimeError, match='of 4 examples'):
    predict_split(batches, forward, 4)


class Slow:
  """Logits that note when they are read."""

  def __init__(self, values, number, events):
    self.values, self.number, self.events = values, number, events

  def __array__(self, dtype=None, copy=None):
    del copy
    self.events.append(f'read {self.number}')
    return np.asarray(self.values, dtype)


def test_the_next_batch_is_dispatched_before_a_result_is_read():
  events = []

  def slow(batch):
    number = int(batch['video'][0, 0, 0, 0, 0, 0])
    events.append(f'dispatch {number}')
    return {'label': Slow(forward(batch)['label'], number, events)}

  batches = [batch_of(number) for number in range(3)]
  check(predict_split(batches, slow, 3), 3)
  assert events == [
    *('dispatch 0', 'dispatch 1', 'read 0', 'dispatch 2', 'read 1', 'read 2'),
  ]


def test_the_iterator_is_closed_at_the_end_and_at_an_error():
  """As grain's with worker processes."""
  closed = []

  def batches():
    try:
      yield batch_of(0)
      yield batch_of(1)
    finally:
      closed.append(True)

  check(predict_split(batches(), forward, 2), 2)
  with pytest.raises(ZeroDivisionError):
    predict_split(batches(), lambda batch: 1 / 0, 2)
  assert len(closed) == 2


def test_unreadable_videos_are_listed_and_never_predicted():
  batch, last = batch_of(0, 1, 2, padding=1), batch_of(3)
  batch['unreadable'][1] = True
  found = predict_split([batch, last], forward, 4)
  assert found.index.tolist() == [0, 2, 3]
  assert found.unreadable.tolist() == [1]
  assert found.labels['label'].tolist() == [0, 2, 0]
  batch['unreadable'][:3] = True
  last['unreadable'][:] = True
  with pytest.raises(UserError):
    predict_split([batch, last], forward, 4)
