"""Scores against values computed by hand, and against plain loops."""

import itertools

import numpy as np
import pytest

from vivit_jax.errors import UserError
from vivit_jax.evaluation import metrics
from vivit_jax.training import losses


def test_top_k_falls_and_ties_go_to_the_lower_class():
  logits = np.array([[0.0, 3.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
  np.testing.assert_array_equal(
    metrics.top_k(logits, 3), [[1, 3, 2], [0, 1, 2]]
  )
  np.testing.assert_array_equal(
    metrics.top_k(logits, 9), [[1, 3, 2, 0], [0, 1, 2, 3]]
  )


def test_scores_of_one_head_by_hand():
  logits = np.tile(np.arange(7.0)[::-1], (4, 1))  # guesses 0, 1, 2, 3, 4
  found = metrics.scores({'label': logits}, {'label': np.array([0, 4, 5, 6])})
  assert found == {'label/top1': 0.25, 'label/top5': 0.5, 'top1': 0.25}


def test_scores_of_two_heads_by_hand():
  guess = np.eye(6)
  logits = {'verb': guess[[0, 1, 2, 3]], 'noun': np.eye(3)[[0, 0, 1, 2]]}
  labels = {'verb': np.array([0, 1, 5, 3]), 'noun': np.array([0, 1, 1, 2])}
  # Behind the first guess, ties: classes in rising order, so 5 comes last.
  assert metrics.scores(logits, labels) == {
    'verb/top1': 0.75,
    'verb/top5': 0.75,
    'noun/top1': 0.75,
    'noun/top5': 1.0,
    'joint/top1': 0.5,
    # Example 1's (1, 1) is next to (1, 0); example 2's verb is in no tuple.
    'joint/top5': 0.75,
    'top1': 0.75,
  }
  labels['noun'] = np.array([1, 1, 1, 2])
  found = metrics.scores(logits, labels)
  assert (found['joint/top1'], found['top1']) == (0.25, 0.625)


@pytest.mark.parametrize('classes', [(7, 9), (3, 6, 8), (1, 3)])
def test_the_likeliest_tuples_are_those_of_all_tuples(classes):
  rng = np.random.default_rng(1)
  logs = {
    name: np.log(rng.dirichlet(np.ones(k), 50))
    for name, k in zip('abc', classes)
  }
  found = metrics.top_tuples(logs)
  for i in range(50):
    every = sorted(
      itertools.product(*map(range, classes)),
      key=lambda t: -sum(logs[h][i, c] for h, c in zip(logs, t)),
    )
    rows = list(zip(*(found[head][i].tolist() for head in logs)))
    assert rows == every[:5]


def test_joint_scores_need_the_softmax_of_each_example():
  """A constant added to a head's logits changes nothing."""
  rng = np.random.default_rng(2)
  logits = {'a': rng.normal(size=(60, 6)), 'b': rng.normal(size=(60, 7))}
  labels = {'a': rng.integers(0, 6, 60), 'b': rng.integers(0, 7, 60)}
  moved = {'a': logits['a'] + 9 * rng.normal(size=(60, 1)), 'b': logits['b']}
  found = metrics.scores(logits, labels)
  assert found == metrics.scores(moved, labels)
  assert 0 < found['joint/top1'] < found['joint/top5'] < 1


def test_classes_by_hand():
  logits = np.eye(4)[[0, 0, 1, 1, 2]]
  labels = np.array([0, 1, 1, 1, 0])
  assert metrics.per_class(logits, labels) == {
    'count': [2, 3, 0, 0],
    'correct': [1, 2, 0, 0],
    'accuracy': [1 / 2, 2 / 3, None, None],
  }
  # Of five examples three are right; of the two seen classes, 7 / 12.
  right = logits.argmax(axis=1) == labels
  found = metrics.mean_class_accuracy(right, labels)
  assert found == pytest.approx(7 / 12)


def test_the_mean_of_classes_with_counts():
  right, labels = np.array([True, False]), np.array([0, 1])
  assert metrics.mean_class_accuracy(right, labels, np.array([1, 1])) == 0.5
  # A class that is not drawn does not count.
  assert metrics.mean_class_accuracy(right, labels, np.array([2, 0])) == 1.0
  rng = np.random.default_rng(0)
  right, labels = rng.random(60) < 0.5, rng.integers(0, 4, 60)
  rows = rng.integers(0, 60, 60)
  found = metrics.mean_class_accuracy(
    right, labels, np.bincount(rows, minlength=60)
  )
  expected = [right[rows][labels[rows] == k].mean() for k in range(4)]
  assert found == pytest.approx(np.mean(expected))


def test_classes_of_several_labels_by_hand():
  logits = np.array([[3, 0, 1], [0, 9, 0], [4, 1, 0], [1, 5, 0]], float)
  labels = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]], float)
  assert metrics.per_class(logits, labels) == {
    'count': [2, 1, 0],
    'average_precision': [pytest.approx((1 + 2 / 3) / 2), 1 / 2, None],
  }


def test_rows_of_the_confusion_are_labels():
  counts = metrics.confusion(np.array([1, 1, 0, 1]), np.array([0, 0, 0, 2]), 3)
  np.testing.assert_array_equal(counts, [[1, 2, 0], [0, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
  ('value', 'label'), [(np.nan, 0), (-np.inf, 0), (0.0, -1), (0.0, 2)]
)
def test_what_is_not_finite_or_no_class(value, label):
  logits = np.array([[0.0, 1.0], [value, 1.0]])
  with pytest.raises(UserError, match='head verb'):
    metrics.scores({'verb': logits}, {'verb': np.array([0, label])})


def test_one_of_several_labels_is_right():
  logits = {'tags': np.array([[3.0, 1, 2], [1, 2, 3], [5, 4, 3]])}
  labels = {'tags': np.array([[1.0, 0, 1], [1, 0, 0], [0, 0, 0]])}
  scores = metrics.scores(logits, labels)
  assert scores['tags/top1'] == pytest.approx(1 / 3)
  assert scores['tags/top5'] == pytest.approx(2 / 3)
  found = metrics.correct(logits, labels)['tags/top1']
  assert found.tolist() == [True, False, False]
  # Classes 0 (examples 0 and 1, ranks 2 and 3) and 2 (example 0, rank 3).
  assert scores['tags/mAP'] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 3) / 2)


def test_losses_are_those_of_training():
  """By JAX, without label smoothing; and one by hand."""
  draw = np.random.default_rng(0)
  logits = {
    'verb': draw.normal(size=(5, 3)).astype(np.float32) * 4,
    'tags': draw.normal(size=(5, 4)).astype(np.float32) * 4,
  }
  labels = {
    'verb': np.array([0, 2, 1, 1, 0]),
    'tags': (draw.random((5, 4)) < 0.5).astype(np.float32),
  }
  weights = {'tags': 0.25}
  targets = {
    'verb': losses.smooth_targets(labels['verb'], 3, 0.0),
    'tags': labels['tags'],
  }
  found = metrics.cross_entropies(logits, labels, weights)
  expected = losses.cross_entropy(logits, targets, ['tags'], weights)
  assert found['loss'] == pytest.approx(float(expected), rel=1e-5)
  assert found['loss'] == found['verb/loss'] + 0.25 * found['tags/loss']
  even = metrics.cross_entropies(
    {'a': np.zeros((2, 4))}, {'a': np.array([1, 3])}
  )
  assert even['loss'] == pytest.approx(np.log(4))
  sure = metrics.cross_entropies(
    {'a': np.array([[0.0, -900.0]])}, {'a': np.array([1])}
  )
  assert sure['loss'] == pytest.approx(900.0)
