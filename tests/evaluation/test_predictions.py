"""Tables of predictions: their file; averages by hand and by plain loops."""

import dataclasses
import math
import pickle

import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation.predictions import Table


@pytest.fixture
def table() -> Table:
  rng = np.random.default_rng(0)
  return Table(
    ids=['a/0.mp4', 'é, "1"'],
    logits={
      'noun': rng.normal(size=(2, 3, 4)).astype(np.float32),
      'tags': rng.normal(size=(2, 3, 2)).astype(np.float32),
    },
    labels={
      'noun': np.array([3, 0], np.int32),
      'tags': np.array([[1, 1], [0, 1]], np.float32),
    },
    class_names={'noun': ['a', 'b', 'ç', 'd'], 'tags': ['x', 'y']},
    protocol={'split': 'test', 'average': 'probabilities'},
    index=np.array([4, 7]),
  )


def test_what_is_written_is_read(table, tmp_path):
  table.write(tmp_path / 'predictions.npz')
  assert [path.name for path in tmp_path.iterdir()] == ['predictions.npz']
  for path in (tmp_path, tmp_path / 'predictions.npz'):
    found = Table.read(path)
    assert found.ids == table.ids
    assert found.class_names == table.class_names
    assert found.protocol == table.protocol
    np.testing.assert_array_equal(found.index, [4, 7])
    for head in ('noun', 'tags'):
      for one, other in (
        (found.logits[head], table.logits[head]),
        (found.labels[head], table.labels[head]),
      ):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_averages_by_hand():
  """Two views: one is sure of class 0, the other leans to class 1."""
  logits = np.array([[[math.log(8), 0.0], [0.0, math.log(2)]]], np.float32)
  labels = {'a': np.array([0])}
  table = Table(['v'], {'a': logits}, labels, {'a': ['x', 'y']}, {})
  # (8 / 9 + 1 / 3) / 2 of class 0; by logits the odds are sqrt(8 / 2) to 1.
  mean = (8 / 9 + 1 / 3) / 2
  np.testing.assert_allclose(
    table.averaged('logits')['a'], [[math.log(8) / 2, math.log(2) / 2]], 1e-6
  )
  np.testing.assert_allclose(
    table.averaged('probabilities')['a'], np.log([[mean, 1 - mean]]), 1e-6
  )
  np.testing.assert_allclose(table.probabilities()['a'], [[2 / 3, 1 / 3]], 1e-6)
  np.testing.assert_allclose(
    table.probabilities('probabilities', views=[1])['a'], [[1 / 3, 2 / 3]], 1e-6
  )


@pytest.mark.parametrize('views', [None, [2, 0]])
def test_mean_probabilities_against_a_loop(table, views):
  found = table.probabilities(views=views)  # as the protocol says
  for i in range(2):
    soft, sig = [], []
    for view in views or range(3):
      weights = [math.exp(x) for x in table.logits['noun'][i, view]]
      soft.append([w / sum(weights) for w in weights])
      sig.append(
        [1 / (1 + math.exp(-x)) for x in table.logits['tags'][i, view]]
      )
    np.testing.assert_allclose(found['noun'][i], np.mean(soft, axis=0), 1e-6)
    np.testing.assert_allclose(found['tags'][i], np.mean(sig, axis=0), 1e-6)


def test_large_logits_stay_finite():
  logits = np.array([[[2000.0, 0.0], [0.0, 3000.0]]], np.float32)
  labels = {'a': np.array([[1.0, 0.0]])}
  for several in (labels, {'a': np.array([0])}):
    table = Table(['v'], {'a': logits}, several, {'a': ['x', 'y']}, {})
    assert np.isfinite(table.averaged('probabilities')['a']).all()


@pytest.mark.parametrize(
  'change',
  [
    {'ids': ['only one']},
    {'labels': {'noun': np.array([4]), 'tags': np.zeros((2, 2))}},
    {'class_names': {'noun': ['a'], 'tags': ['x', 'y']}},
  ],
)
def test_what_does_not_fit_is_refused(table, tmp_path, change):
  dataclasses.replace(table, **change).write(tmp_path / 'x.npz')
  with pytest.raises(UserError, match='x.npz.*noun'):
    Table.read(tmp_path / 'x.npz')


def test_files_that_are_no_table(table, tmp_path):
  """Of none, numpy's error would advise to load pickles."""
  with pytest.raises(UserError, match='predictions.npz'):
    Table.read(tmp_path)
  path = tmp_path / 'x.npz'
  table.write(path)
  whole = path.read_bytes()
  np.savez(path, a=np.zeros(3))
  other = path.read_bytes()
  for content in (b'', b'text', pickle.dumps({}), whole[:-30], other):
    path.write_bytes(content)
    with pytest.raises(UserError, match='x.npz') as caught:
      Table.read(path)
    assert 'pickle' not in str(caught.value)
