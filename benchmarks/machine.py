"""What a benchmark ran on, in one line: the date, the machine, the versions."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys

from vivit_jax.errors import UserError

_PACKAGES = ('jax', 'jaxlib', 'flax', 'numpy')


def describe(gpu: str | None, torch_python: str | None = None) -> str:
  """Returns the line.

  Args:
    gpu: its name, if there is one.
    torch_python: an interpreter whose torch was measured too.
  """
  parts = [datetime.date.today().isoformat(), _processor()]
  if gpu:
    parts.append(gpu)
  versions = [f'Python {platform.python_version()}']
  versions += [f'{name} {_version(name)}' for name in _PACKAGES]
  torch = torch_python and _torch(torch_python)
  if torch:
    versions.append(f'torch {torch}')
  return f'{"; ".join(parts)}; {", ".join(versions)}.'


def gpu() -> str | None:
  """Returns the name of the GPU that jax computes on, None without one.

  Asked for in a process of its own: one that has seen a GPU keeps its memory.
  """
  asked = (
    'import jax; device = jax.devices()[0]; '
    "print(device.device_kind if device.platform == 'gpu' else '')"
  )
  done = subprocess.run(
    [sys.executable, '-c', asked], capture_output=True, text=True, check=False
  )
  return done.stdout.strip() or None


def _processor() -> str:
  """Returns cores that may be used, the processor's name, memory."""
  if hasattr(os, 'sched_getaffinity'):
    cores = len(os.sched_getaffinity(0))
  else:
    cores = os.cpu_count()
  name = platform.processor() or platform.machine()
  information = pathlib.Path('/proc/cpuinfo')
  if information.exists():
    for line in information.read_text().splitlines():
      if line.startswith('model name'):
        name = line.partition(':')[2].strip()
        break
  memory = ''
  if 'SC_PHYS_PAGES' in os.sysconf_names:
    size = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    memory = f', {size / 1e9:.0f} GB'
  return f'{cores} cores of {name}{memory}'


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return 'missing'


def _torch(python: str) -> str | None:
  """Returns the version of an interpreter's torch, None if it has none."""
  asked = "import importlib.metadata as m; print(m.version('torch'))"
  try:
    done = subprocess.run(
      [python, '-c', asked], capture_output=True, text=True, check=False
    )
  except OSError:
    return None
  return done.stdout.strip() or None


def check_python(path: str | None) -> None:
  """Checks `--torch_python`, an interpreter or None.

  Raises:
    UserError: it is no interpreter, or has no torch or transformers.
  """
  if not path:
    return
  asked = (
    'import importlib.util as i; names = "numpy", "torch", "transformers"; '
    'print("lacks", *[name for name in names if not i.find_spec(name)])'
  )
  try:
    done = subprocess.run(
      [path, '-c', asked], capture_output=True, text=True, check=False
    )
    word, *missing = done.stdout.split() or ['nothing']
  except OSError:
    word = 'nothing'
  if word != 'lacks':
    raise UserError(f'--torch_python is {path}, which is no Python.')
  if missing:
    raise UserError(
      f'--torch_python is {path}, which has no {", ".join(missing)}; install '
      'that there, or name another.'
    )
