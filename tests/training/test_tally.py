"""Means over steps, skipped ones apart, and what a checkpoint keeps of them."""

import math

import numpy as np
import pytest

from vivit_jax import parallel
from vivit_jax.training.tally import Tally


def metrics(loss, skipped=None):
  row = {'loss': np.float32(loss)}
  if skipped is not None:
    row['skipped'] = np.float32(skipped)
  return parallel.replicate(row)


def test_means_are_over_the_steps_since_the_last_report():
  tally = Tally()
  for loss in (1.0, 2.0, 6.0):
    tally.add(metrics(loss))
    tally.look(ahead=1)
  assert tally.report() == {'loss': 3.0, 'skipped_steps': 0.0}
  tally.add(metrics(5.0))
  assert tally.report()['loss'] == 5.0


def test_skipped_steps_are_counted_and_no_part_of_the_mean():
  tally = Tally()
  losses = (1.0, math.nan, math.inf, 3.0, math.nan)
  in_a_row = []
  for loss in losses:
    tally.add(metrics(loss, not math.isfinite(loss)))
    tally.look()
    in_a_row.append(tally.in_a_row)
  assert in_a_row == [0, 1, 2, 0, 1]
  assert tally.report() == {'loss': 2.0, 'skipped_steps': 3.0}
  tally.add(metrics(math.nan, 1))
  assert tally.report() == {'skipped_steps': 1.0}
  assert tally.in_a_row == 2


def test_what_a_checkpoint_keeps_makes_the_same_mean():
  draw = np.random.default_rng(0)
  losses = draw.normal(size=5).astype(np.float32)
  whole = Tally()
  first = Tally()
  for loss in losses[:3]:
    whole.add(metrics(loss))
    first.add(metrics(loss))
  again = Tally(first.rows(), first.in_a_row)
  for loss in losses[3:]:
    whole.add(metrics(loss))
    again.add(metrics(loss))
  assert whole.report() == again.report()
  assert first.report()['loss'] == pytest.approx(losses[:3].mean())


def test_what_is_ahead_waits_for_the_next_report():
  tally = Tally()
  for loss, skipped in ((1.0, 0), (math.nan, 1), (4.0, 0)):
    tally.add(metrics(loss, skipped))
  assert tally.report(ahead=1) == {'loss': 1.0, 'skipped_steps': 1.0}
  assert (tally.in_a_row, tally.updates) == (1, 1)
  tally.look()  # the last one, which the report left
  assert (tally.in_a_row, tally.updates) == (0, 2)
  assert tally.report(ahead=1) == {'skipped_steps': 0.0}
  tally.add(metrics(6.0, 0))
  assert tally.report() == {'loss': 5.0, 'skipped_steps': 0.0}
  assert tally.updates == 3
