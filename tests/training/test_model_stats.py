"""Operations, utilisation and memory against hand-made figures."""

import pytest

from configs import k400_b16x2_fe
from vivit_jax import config as configs
from vivit_jax.models import arithmetic
from vivit_jax.training import model_stats


def test_vivit_b_has_the_papers_figures():
  config = configs.resolve(k400_b16x2_fe.get_config())
  operations = model_stats.forward_operations(config)
  assert operations / 2e9 == pytest.approx(283.3, abs=0.06)


def test_the_memory_of_a_step(monkeypatch):
  assert '1,234.6 MB' in model_stats.describe_step(1_234_560_000)
  monkeypatch.setattr(model_stats, 'peak_memory', lambda: None)
  assert model_stats.describe_step(None) is None
  monkeypatch.setattr(model_stats, 'peak_memory', lambda: 5e6)
  assert ' 5.0 MB' in model_stats.describe_step(None)


def test_utilisation_by_hand(monkeypatch):
  assert model_stats.utilisation(1, 1.0, 1) is None  # a CPU's peak is unknown
  monkeypatch.setattr(arithmetic, 'peak_operations', lambda device: 1e12)
  # 3 passes of 2e9 operations, 25 clips a second, on 2 devices.
  found = model_stats.utilisation(2_000_000_000, 25.0, 2)
  assert found == pytest.approx(0.075)
