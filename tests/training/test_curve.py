"""Losses of many steps, all regularisers: the devices do not matter."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import simulated

TESTS = pathlib.Path(__file__).parents[1]


def losses_on(arguments, devices, count=1):
  """Trains in so many processes with so many devices each."""
  address, together = simulated.address(), [[]]
  if count > 1:
    together = [[address, str(count), str(number)] for number in range(count)]
  script = pathlib.Path(__file__).parent / 'losses_on_devices.py'
  environment = simulated.environment(devices)
  environment['PYTHONPATH'] += f':{TESTS}'
  processes = [
    subprocess.Popen(
      [sys.executable, script, *map(str, arguments), *own],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for own in together
  ]
  printed = [process.communicate(timeout=500)[0] for process in processes]
  assert [p.returncode for p in processes] == [0] * count, printed
  result = json.loads(arguments[-1].read_text())
  assert result['devices'] == devices * count
  return result


@pytest.mark.slow
@pytest.mark.parametrize('kind, steps', [('regularised', 40), ('every', 4)])
def test_losses_do_not_depend_on_the_devices(prepared, tmp_path, kind, steps):
  arguments = (kind, steps, prepared, tmp_path / 'losses.json')
  alone = losses_on(arguments, 1)
  assert len(set(alone['losses'])) == steps
  for devices, count in ((4, 1), (2, 2)):
    found = losses_on(arguments, devices, count)
    for key in ('losses', 'sum'):
      np.testing.assert_allclose(
        found[key], alone[key], rtol=1e-5, err_msg=f'{count} x {devices}'
      )
