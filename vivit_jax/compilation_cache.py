"""The persistent compilation cache: jax's own, in the user's cache folder.

Commands set it up; importing the library does not. An entry is machine code,
which jax runs as it is. So the folder must be its user's alone.
"""

import hashlib
import os
import pathlib
import platform
import sys

import jax

from vivit_jax import distributed
from vivit_jax.errors import UserError

_SETTINGS = {  # unless an environment variable has another value
  'jax_compilation_cache_max_size': 2 * 2**30,  # bytes
  'jax_persistent_cache_min_compile_time_secs': 0.1,
  # XLA's own files beside jax's have no size limit.
  'jax_persistent_cache_enable_xla_caches': 'none',
}
# Lines of /proc/cpuinfo that tell CPUs apart, on x86 and on ARM.
_CPU = ('vendor_id', 'cpu family', 'model', 'stepping', 'flags', 'CPU ', 'Feat')


def set_up(place: str | None = None) -> None:
  """Makes jax store compiled programs, and load those of earlier commands.

  A folder that cannot be used is a warning: the command goes on without.

  Args:
    place: a folder, or 'off'; None: JAX_COMPILATION_CACHE_DIR or
      JAX_ENABLE_COMPILATION_CACHE if set, else the user's cache folder.

  Raises:
    UserError: an empty name, or an address.
  """
  if place is not None and (not place or '://' in place):
    raise UserError(
      f"--compilation_cache is '{place}'; it takes a local folder, or 'off'."
    )
  config = jax.config
  if place is None and (
    config.jax_compilation_cache_dir
    or not config.jax_enable_compilation_cache
    # Only process 0 writes, maybe to its own machine's disk. On GPUs, processes
    # tune kernels together: one that loads a program would block the others.
    or distributed.several()
  ):
    return
  folder = None if place == 'off' else _open(place)
  config.update('jax_enable_compilation_cache', folder is not None)
  if folder is not None:
    config.update('jax_compilation_cache_dir', str(folder))
    for name, value in _SETTINGS.items():
      if name.upper() not in os.environ:
        config.update(name, value)


def _open(place: str | None) -> pathlib.Path | None:
  """Returns this machine's subfolder; warns and returns None if unsafe."""
  # The XDG standard ignores relative paths.
  home = os.environ.get('XDG_CACHE_HOME', '')
  home = home if os.path.isabs(home) else '~/.cache'
  root = pathlib.Path(place or f'{home}/vivit_jax/xla')
  try:
    root = root.expanduser().absolute()
    folder = root / f'jax{jax.__version__}-{platform.machine()}-{_cpu()}'
    for path in (root, folder):
      path.mkdir(mode=0o700, parents=True, exist_ok=True)
      status = path.stat()
      if status.st_uid != os.geteuid():
        raise OSError(f'{path} belongs to another user')
      if status.st_mode & 0o022:
        raise OSError(f'others can write to {path} (chmod go-w)')
  except (OSError, RuntimeError) as error:  # RuntimeError: a user without home
    if distributed.first():
      print(f'warning: no compilation cache: {error}.', file=sys.stderr)
    return None
  return folder


def _cpu() -> str:
  """Returns a hash of the kind of CPU and the number of usable cores.

  jax's keys have neither. Another CPU may lack instructions, and XLA splits
  loops by cores.
  """
  try:
    first = pathlib.Path('/proc/cpuinfo').read_text().split('\n\n')[0]
    kind = [line for line in first.splitlines() if line.startswith(_CPU)]
  except OSError:  # not Linux
    kind = [platform.processor()]
  affinity = getattr(os, 'sched_getaffinity', None)
  kind.append(str(len(affinity(0)) if affinity else os.cpu_count()))
  return hashlib.sha256('\n'.join(kind).encode()).hexdigest()[:12]
