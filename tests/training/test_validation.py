"""When validation is due, by steps or by epochs."""

import fractions

import pytest

from vivit_jax import config as configs
from vivit_jax.errors import UserError
from vivit_jax.training import loop, validation


def period(videos, **train):
  config = configs.default()
  config.train.batch_size, config.augment.repeats = 8, 2
  config.train.update(train)
  return validation.period(configs.resolve(config), videos)


def due(every, last):
  return [n for n in range(1, last + 1) if loop.is_due(n, every, last)]


def test_by_steps_or_by_epochs():
  assert period(48) == 1000
  assert period(48, validate_every=7) == 7
  assert period(48, validate_every=0) is None
  # 4 videos a step: 12 steps an epoch of 48, 12.5 of 50.
  assert period(48, validate_epochs=2.0) == 24
  assert period(50, validate_epochs=1.0, validate_every=0) == 12.5
  assert period(30, validate_epochs=0.1) == fractions.Fraction(3, 4)


def test_a_step_that_completes_epochs_is_validated():
  assert due(3, 10) == [3, 6, 9, 10]
  assert due(None, 10) == []
  # 2.4, 4.8, 7.2, 9.6 and 12 steps.
  assert due(period(48, validate_epochs=0.2), 12) == [3, 5, 8, 10, 12]
  # More than one a step is one.
  assert due(fractions.Fraction(1, 3), 3) == [1, 2, 3]


def test_no_step_is_late_by_rounding():
  """Ten times 0.3 epochs of 7 steps are 21 steps; 21 // 2.1 is 9."""
  every = period(28, validate_epochs=0.3)
  assert 21 // float(every) == 9
  assert due(every, 22)[-2:] == [21, 22]


def test_mistaken_periods_are_refused():
  with pytest.raises(UserError, match='train.validate_every'):
    period(48, validate_every=500, validate_epochs=2.0)
  with pytest.raises(UserError, match='validate_epochs'):
    period(48, validate_epochs=-1.0)
