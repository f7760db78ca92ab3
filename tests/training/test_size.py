"""The lines at the start, and the utilisation, against hand-made figures."""

import jax
import numpy as np
import pytest

from configs import k400_b16x2_fe
from vivit_jax import config as configs
from vivit_jax.models import arithmetic
from vivit_jax.training import size, step


@pytest.fixture
def config():
  return configs.resolve(k400_b16x2_fe.get_config())


def test_vivit_b_has_the_papers_figures(config):
  operations = size.forward_operations(config)
  assert operations / 2e9 == pytest.approx(283.3, abs=0.06)
  params = {'a': np.zeros((3, 1000)), 'b': np.zeros(7)}
  opt_state = (params, np.int32(0))
  state = step.TrainState(np.int32(0), params, opt_state)
  lines = size.describe(state, operations, config).splitlines()
  assert '3,007 parameters, 283.3 GFLOPs a clip' in lines[0]
  assert f'{jax.device_count()} x cpu, 64 clips a step' in lines[1]
  assert lines[1].endswith('the peak of one, for MFU, is unknown')
  assert lines[2:] == [
    'memory of each device: parameters 0.0 MB, optimiser 0.0 MB'
  ]


def test_the_memory_of_the_state_and_the_peak(config, monkeypatch):
  monkeypatch.setattr(arithmetic, 'peak_operations', lambda device: 312e12)
  params = {'a': np.zeros((1000, 250), np.float32)}  # a million bytes
  state = step.TrainState(
    np.int32(0), params, (params, params), ema={'a': params['a'][:100]}
  )
  lines = size.describe(state, 1, config).splitlines()
  assert lines[1].endswith('the peak of one, for MFU, is 312 TFLOPS')
  assert lines[2] == (
    'memory of each device: parameters 1.0 MB, optimiser 2.0 MB, '
    'averaged weights 0.1 MB'
  )


def test_the_memory_of_a_step(monkeypatch):
  assert '1,234.6 MB, by XLA' in size.describe_step(1_234_560_000)
  monkeypatch.setattr(size, 'peak_memory', lambda: None)
  assert size.describe_step(None) is None
  monkeypatch.setattr(size, 'peak_memory', lambda: 5e6)
  assert size.describe_step(None).endswith('first device in a step: 5.0 MB')


def test_utilisation_by_hand(monkeypatch):
  monkeypatch.setattr(arithmetic, 'peak_operations', lambda device: 1e12)
  # 3 passes of 2e9 operations, 25 clips a second, on 2 devices.
  assert size.utilisation(2_000_000_000, 25.0, 2) == pytest.approx(0.075)


def test_a_peak_that_is_not_known_gives_no_utilisation():
  assert size.utilisation(1, 1.0, 1) is None
