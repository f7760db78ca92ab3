"""metrics.json of a made-up table, by hand."""

import numpy as np
import pytest

from vivit_jax.evaluation.predictions import Table
from vivit_jax.evaluation.summary import summary

# Two temporal views of three crops each; which class each view is for, and how
# much, of three examples. With all views example 2 goes wrong by logits.
VOTES = [
  [(0, 1), (0, 1), (0, 1), (0, 1), (1, 1), (0, 1)],
  [(2, 1), (1, 3), (2, 1), (1, 1), (1, 3), (1, 1)],
  [(1, 1), (2, 1), (1, 1), (1, 1), (0, 9), (1, 1)],
]
LABELS = [0, 1, 1]


def table(average='logits'):
  logits = np.zeros((3, 6, 3), np.float32)
  for i, row in enumerate(VOTES):
    for view, (guess, strength) in enumerate(row):
      logits[i, view, guess] = strength
  protocol = {'temporal_views': 2, 'spatial_crops': 3, 'average': average}
  return Table(
    ids=['a', 'b', 'c'],
    logits={'label': logits},
    labels={'label': np.array(LABELS, np.int32)},
    class_names={'label': ['x', 'y', 'z']},
    protocol=protocol,
  )


def test_of_one_head_by_hand():
  found = summary(table())
  # Sums over the views: (5, 1, 0), (0, 8, 2), (9, 4, 1).
  assert found['scores']['label/top1'] == pytest.approx(2 / 3)
  assert found['scores']['label/top5'] == 1
  assert found['scores']['label/mean_class_accuracy'] == (1 + 1 / 2) / 2
  assert found['per_class'] == {
    'label': {
      'count': [1, 2, 0],
      'correct': [1, 1, 0],
      'accuracy': [1, 1 / 2, None],
    }
  }
  means = np.array([[5, 1, 0], [0, 8, 2], [9, 4, 1]]) / 6
  p = np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)
  gaps = 1 - p[0].max(), 1 - p[1].max(), p[2].max()  # each in its own bin
  assert len({int(x * 15) for x in p.max(axis=1)}) == 3
  assert found['scores']['label/calibration_error'] == pytest.approx(
    sum(gaps) / 3
  )
  low, high = found['intervals']['label/top1']
  # Two of three or more, and two of three or fewer, have probability 2.5%.
  assert 3 * low**2 - 2 * low**3 == pytest.approx(0.025)
  assert 1 - high**3 == pytest.approx(0.025)
  low, high = summary(table('probabilities'))['intervals']['label/top1']
  assert (low, high) == (pytest.approx(0.025 ** (1 / 3)), 1)  # all are right


def test_by_views_by_hand():
  """The centre of the middle clip is for 1, 1 and 0; the whole for 0, 1, 0."""
  rows = {
    (row['temporal'], row['spatial']): row['scores']['label/top1']
    for row in summary(table())['views']
  }
  assert rows == {
    (1, 1): pytest.approx(1 / 3),  # view 4 alone
    (2, 1): pytest.approx(2 / 3),  # views 1 and 4: (1, 1) ties, to class 0
    (1, 3): pytest.approx(2 / 3),  # views 3 to 5
    (2, 3): pytest.approx(2 / 3),
  }


def test_the_average_is_the_protocols():
  """One view that is very sure outvotes five by logits alone."""
  assert summary(table('probabilities'))['scores']['label/top1'] == 1
  assert summary(table('logits'))['scores']['label/top1'] < 1
