"""Blocks of shared memory are used again, but never under a live array."""

import pickle

import numpy as np
import pytest

from vivit_jax.data import shared_batches

SHAPE = (2, 3, 4)


@pytest.fixture(autouse=True)
def worker(monkeypatch):
  """Makes this process a worker and its parent at once."""
  for name, value in (('iterator', None), ('blocks', []), ('mapped', {})):
    monkeypatch.setattr(shared_batches._Owner, name, value)
  shared_batches.start_worker('one')


def send(value: int) -> np.ndarray:
  """Returns what the parent receives of an array with a value."""
  array, sent = shared_batches.new(SHAPE)
  array[...] = value
  return pickle.loads(pickle.dumps(sent))


def blocks() -> int:
  return len(shared_batches._Owner.blocks)


def test_a_part_of_an_array_keeps_its_block():
  part = send(1)[1, :, ::2]
  others = [send(2), send(3)]
  assert blocks() == 3
  np.testing.assert_array_equal(part, np.full((3, 2), 1))
  del part
  assert send(4).sum() == 4 * 24
  assert blocks() == 3
  assert [x.max() for x in others] == [2, 3]


def test_larger_arrays_get_their_own_block():
  send(1)
  assert shared_batches.new((5, 5))[0].shape == (5, 5)
  assert shared_batches.new((4, 4))[0].shape == (4, 4)
  assert blocks() == 2


def test_arrays_outlive_their_iterator():
  array = send(7)
  shared_batches.end('one')
  np.testing.assert_array_equal(array, np.full(SHAPE, 7))


def test_nothing_is_shared_without_workers(monkeypatch):
  monkeypatch.setattr(shared_batches._Owner, 'iterator', None)
  array, sent = shared_batches.new(SHAPE)
  assert sent is array and blocks() == 0
