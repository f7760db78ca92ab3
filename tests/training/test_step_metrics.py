"""Means over steps without skipped ones, also across a checkpoint."""

import math

import numpy as np
import pytest

from vivit_jax import parallel
from vivit_jax.training.step_metrics import StepMetrics


def metrics(loss, skipped=None):
  row = {'loss': np.float32(loss)}
  if skipped is not None:
    row['skipped'] = np.float32(skipped)
  return parallel.replicate(row)


def test_means_are_over_the_steps_since_the_last_report():
  collected = StepMetrics()
  for loss in (1.0, 2.0, 6.0):
    collected.add(metrics(loss))
    collected.wait(in_flight=1)
  assert collected.report() == {'loss': 3.0, 'skipped_steps': 0.0}
  collected.add(metrics(5.0))
  assert collected.report()['loss'] == 5.0


def test_shares_of_skipped_parts_are_of_all_steps():
  collected = StepMetrics()
  for skipped, part in ((0, 0), (1, 1), (0, 1), (0, 0)):
    one = {'skipped/a': np.float32(part), 'skipped/b': np.float32(0)}
    collected.add(metrics(1.0, skipped) | parallel.replicate(one))
  found = collected.report()
  assert (found['skipped/a'], found['skipped/b']) == (0.5, 0.0)
  one = parallel.replicate({'skipped/a': np.float32(1)})
  collected.add(metrics(1.0, 1) | one)
  assert collected.report() == {'skipped/a': 1.0, 'skipped_steps': 1.0}


def test_skipped_steps_are_counted_and_left_out_of_the_mean():
  collected = StepMetrics()
  losses = (1.0, math.nan, math.inf, 3.0, math.nan)
  consecutive_skips = []
  for loss in losses:
    collected.add(metrics(loss, not math.isfinite(loss)))
    collected.wait()
    consecutive_skips.append(collected.consecutive_skips)
  assert consecutive_skips == [0, 1, 2, 0, 1]
  assert collected.report() == {'loss': 2.0, 'skipped_steps': 3.0}
  collected.add(metrics(math.nan, 1))
  assert collected.report() == {'skipped_steps': 1.0}
  assert collected.consecutive_skips == 2


def test_rows_restored_from_a_checkpoint_give_the_same_mean():
  draw = np.random.default_rng(0)
  losses = draw.normal(size=5).astype(np.float32)
  whole = StepMetrics()
  first = StepMetrics()
  for loss in losses[:3]:
    whole.add(metrics(loss))
    first.add(metrics(loss))
  again = StepMetrics(first.rows(), first.consecutive_skips)
  for loss in losses[3:]:
    whole.add(metrics(loss))
    again.add(metrics(loss))
  assert whole.report() == again.report()
  assert first.report()['loss'] == pytest.approx(losses[:3].mean())


def test_a_step_in_flight_is_in_the_next_report():
  collected = StepMetrics()
  for loss, skipped in ((1.0, 0), (math.nan, 1), (4.0, 0)):
    collected.add(metrics(loss, skipped))
  assert collected.report(in_flight=1) == {'loss': 1.0, 'skipped_steps': 1.0}
  assert (collected.consecutive_skips, collected.updates) == (1, 1)
  collected.wait()  # the last one, which the report left out
  assert (collected.consecutive_skips, collected.updates) == (0, 2)
  assert collected.report(in_flight=1) == {'skipped_steps': 0.0}
  collected.add(metrics(6.0, 0))
  assert collected.report() == {'loss': 5.0, 'skipped_steps': 0.0}
  assert collected.updates == 3
