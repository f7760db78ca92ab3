"""The update is a property of the batch, not of the devices."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def losses_on(devices: int) -> dict:
  done = subprocess.run(
    [sys.executable, pathlib.Path(__file__).parent / 'losses_on_devices.py'],
    env=os.environ
    | {
      'PYTHONPATH': str(ROOT),
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    },
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


@pytest.mark.slow
def test_losses_do_not_depend_on_the_number_of_devices():
  alone = losses_on(1)
  assert len(set(alone['losses'])) == 4
  for devices in (2, 4):
    result = losses_on(devices)
    assert result['devices'] == devices
    np.testing.assert_allclose(result['losses'], alone['losses'], rtol=1e-5)
    np.testing.assert_allclose(result['sum'], alone['sum'], rtol=1e-5)


def test_training_imports_no_tensorflow():
  code = (
    'import sys; import vivit_jax.models, vivit_jax.training;'
    'from vivit_jax.training import augment, losses, optim, step;'
    "print([m for m in ('tensorflow', 'tensorflow_datasets', 'clu', 'grain')"
    ' if m in sys.modules])'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.stdout.strip() == '[]', done.stderr
