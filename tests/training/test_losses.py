"""Targets and losses against values computed by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from vivit_jax.training import losses


def test_smooth_targets_by_hand():
  targets = losses.smooth_targets(np.array([1, 0]), 4, 0.2)
  np.testing.assert_allclose(
    targets, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6
  )


def test_cross_entropy_sums_heads_and_averages_examples():
  logits = {'a': np.log([[1.0, 3.0], [1.0, 1.0]]), 'b': np.zeros((2, 4))}
  targets = {
    'a': np.array([[0.0, 1.0], [0.5, 0.5]]),
    'b': np.full((2, 4), 0.25),
  }
  expected = (np.log(4 / 3) + np.log(2)) / 2 + np.log(4)
  assert float(losses.cross_entropy(logits, targets)) == pytest.approx(
    expected, rel=1e-6
  )


def test_heads_are_weighted():
  logits = {'a': np.zeros((2, 2)), 'b': np.zeros((2, 4))}
  targets = {'a': np.full((2, 2), 0.5), 'b': np.full((2, 4), 0.25)}
  found = losses.cross_entropy(logits, targets, weights={'b': 0.25})
  expected = np.log(2) + 0.25 * np.log(4)
  assert float(found) == pytest.approx(expected, rel=1e-6)


def test_class_weights_by_hand():
  counts = np.array([8, 2, 0])
  # In proportion to 1/8 and 1/2; to 1 and 2.
  inverse = losses.class_weights(counts, 'inverse', 0.0)
  np.testing.assert_allclose(inverse, [10 / 16, 10 / 4, 0], rtol=1e-6)
  root = losses.class_weights(counts, 'inverse_sqrt', 0.0)
  np.testing.assert_allclose(root, [10 / 12, 20 / 12, 0], rtol=1e-6)
  # Effective numbers 1, 1.5 and 1.75, of weights 1, 2/3 and 4/7.
  found = losses.class_weights(np.array([1, 2, 3]), 'effective', 0.5)
  mean = (1 + 2 * 2 / 3 + 3 * 4 / 7) / 6
  np.testing.assert_allclose(
    found, np.array([1, 2 / 3, 4 / 7]) / mean, rtol=1e-6
  )


def test_effective_goes_from_equal_to_inverse():
  counts = np.array([50, 5])
  none = losses.class_weights(counts, 'effective', 0.0)
  np.testing.assert_allclose(none, 1, rtol=1e-6)
  np.testing.assert_allclose(
    losses.class_weights(counts, 'effective', 1 - 1e-9),
    losses.class_weights(counts, 'inverse', 0.0),
    rtol=1e-5,
  )


def test_examples_are_weighted_and_counted_as_one_each():
  logits = {'a': np.log([[1.0, 3.0], [1.0, 1.0]]), 'b': np.zeros((2, 4))}
  targets = {'a': np.eye(2), 'b': np.full((2, 4), 0.25)}
  found = losses.cross_entropy(
    logits, targets, example_weights={'a': np.array([0.5, 3.0])}
  )
  expected = (0.5 * np.log(4) + 3.0 * np.log(2)) / 2 + np.log(4)
  assert float(found) == pytest.approx(expected, rel=1e-6)


def test_accuracies_count_first_guesses():
  logits = {'a': np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])}
  right = losses.accuracies(logits, {'a': np.array([1, 0, 0, 1])})
  assert float(right['a/top1']) == 0.75


def test_several_labels_are_each_a_yes_or_no():
  logits = {'tags': jnp.array([[0.0, 2.0], [1.0, -1.0]])}
  labels = {'tags': jnp.array([[1.0, 0.0], [0.0, 0.0]])}
  found = losses.cross_entropy(logits, labels, ['tags'])
  log = np.log
  by_hand = [
    log(2) + log(1 + np.exp(2)),
    log(1 + np.exp(1)) + log(1 + np.exp(-1)),
  ]
  np.testing.assert_allclose(found, np.mean(by_hand), rtol=1e-6)
  assert losses.accuracies(logits, labels) == {'tags/top1': 0.0}
  smooth = losses.smooth_targets(labels['tags'], 2, 0.2)
  np.testing.assert_allclose(smooth, [[0.9, 0.1], [0.1, 0.1]], rtol=1e-6)
