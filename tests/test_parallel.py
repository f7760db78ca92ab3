"""Functions compiled ahead, and the memory that they need, by hand."""

import jax
import numpy as np

from vivit_jax import parallel


def test_a_function_compiled_ahead_gives_the_same_and_its_memory():
  devices = jax.local_device_count()
  x = np.arange(devices * 1000, dtype=np.float32).reshape(devices, 1000)
  traced = []

  def function(x):
    traced.append(1)
    return x * 2.0

  program, memory = parallel.compiled(parallel.map_over_devices(function), x)
  np.testing.assert_array_equal(program(x), 2.0 * x)
  np.testing.assert_array_equal(program(x + 1), 2.0 * x + 2.0)
  assert len(traced) == 1
  assert memory == 2 * 4 * 1000  # argument and result


def test_donated_memory_counts_once():
  x = np.zeros((jax.local_device_count(), 1000), np.float32)
  function = parallel.map_over_devices(lambda x: x * 2.0, donate=(0,))
  _, memory = parallel.compiled(function, x)
  assert memory == 4 * 1000


def test_in_several_processes_the_function_is_returned(monkeypatch):
  function = parallel.map_over_devices(lambda x: x)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  assert parallel.compiled(function, np.zeros(1)) == (function, None)
