"""A hundred steps, all regularisers: the devices do not matter."""

import json
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import simulated

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 100


def losses_on(data_dir, out, devices, count=1):
  """Returns the losses, of so many processes with so many devices each."""
  together = []
  if count > 1:
    with socket.socket() as free:
      free.bind(('localhost', 0))
      together = [f'localhost:{free.getsockname()[1]}', str(count)]
  script = pathlib.Path(__file__).parent / 'curve_on_devices.py'
  processes = [
    subprocess.Popen(
      [
        sys.executable, script, str(STEPS), data_dir, out,
        *([*together, str(number)] if count > 1 else []),
      ],
      env=simulated.environment(devices),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for number in range(count)
  ]  # fmt: skip
  printed = [process.communicate(timeout=500)[0] for process in processes]
  assert [p.returncode for p in processes] == [0] * count, printed
  result = json.loads(out.read_text())
  assert result['devices'] == devices * count
  return result['losses']


@pytest.mark.slow
def test_a_hundred_losses_do_not_depend_on_the_devices(prepared, tmp_path):
  out = tmp_path / 'losses.json'
  alone = losses_on(prepared, out, 1)
  assert len(set(alone)) == STEPS
  for devices, count in ((2, 1), (4, 1), (2, 2)):
    found = losses_on(prepared, out, devices, count)
    np.testing.assert_allclose(
      found, alone, rtol=1e-5, err_msg=f'{count} x {devices}'
    )
