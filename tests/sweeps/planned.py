"""Runs of a sweep() that a test writes."""

from vivit_jax import config as configs
from vivit_jax import sweeps

RATES = sweeps.values('optim.learning_rate', [0.1, 0.2, 0.3])


def planned(tmp_path, body, base=None, given=()):
  path = tmp_path / 'mine.py'
  path.write_text(
    'import numpy as np\n'
    'from vivit_jax import sweeps\n'
    f'def sweep():\n  return {body}\n'
  )
  return sweeps.plan(
    base or configs.resolve(configs.default()), str(path), given
  )
