"""What commands are started with, on devices that XLA simulates on the CPU."""

import os
import pathlib
import socket

ROOT = pathlib.Path(__file__).parents[1]


def environment(devices: int = 1) -> dict[str, str]:
  """Returns the environment of a process with so many devices."""
  return os.environ | {
    'PYTHONPATH': str(ROOT),
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
  }


def address() -> str:
  """Returns HOST:PORT of this machine, of a free port."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return f'localhost:{free.getsockname()[1]}'
