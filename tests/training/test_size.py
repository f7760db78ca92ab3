"""The lines at the start, and the utilisation, against hand-made figures."""

import jax
import numpy as np
import pytest

from configs import k400_b16x2_fe
from vivit_jax import config as configs
from vivit_jax import models
from vivit_jax.models import arithmetic
from vivit_jax.training import size


@pytest.fixture
def config():
  return configs.resolve(k400_b16x2_fe.get_config())


def test_vivit_b_has_the_papers_figures(config):
  model = models.build(**configs.model_arguments(config.model))
  operations = size.forward_operations(model, config)
  assert operations / 2e9 == pytest.approx(283.3, abs=0.06)
  params = {'a': np.zeros((3, 1000)), 'b': np.zeros(7)}
  lines = size.describe(params, operations, config).splitlines()
  assert '3,007 parameters, 283.3 GFLOPs a clip' in lines[0]
  assert f'{jax.device_count()} x cpu, 64 clips a step' in lines[1]


def test_utilisation_by_hand(monkeypatch):
  monkeypatch.setattr(arithmetic, 'peak_operations', lambda device: 1e12)
  # 3 passes of 2e9 operations, 25 clips a second, on 2 devices.
  assert size.utilisation(2_000_000_000, 25.0, 2) == pytest.approx(0.075)


def test_a_peak_that_is_not_known_gives_no_utilisation():
  assert size.utilisation(1, 1.0, 1) is None
