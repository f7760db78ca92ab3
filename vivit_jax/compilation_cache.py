"""The persistent compilation cache: jax's own, in the user's cache folder.

Commands set it up; importing the library does not. An entry is machine code
that jax runs unchecked, so only the user may write to the folder.
"""

import hashlib
import os
import pathlib
import platform
import sys

import jax

from vivit_jax import distributed
from vivit_jax.errors import UserError

_SETTINGS = {  # environment variables take precedence
  'jax_compilation_cache_max_size': 2 * 2**30,  # bytes
  'jax_persistent_cache_min_compile_time_secs': 0.1,
  # XLA's own caches have no size limit.
  'jax_persistent_cache_enable_xla_caches': 'none',
}
# Lines of /proc/cpuinfo that identify a CPU model, on x86 and on ARM.
_CPU = ('vendor_id', 'cpu family', 'model', 'stepping', 'flags', 'CPU ', 'Feat')


def set_up(folder: str | None = None) -> None:
  """Makes jax store compiled programs, and load stored ones.

  If the folder cannot be used, prints a warning and goes on without a cache.

  Args:
    folder: a local folder, or 'off'; None: as jax's environment variables say,
      else in the user's cache folder.

  Raises:
    UserError: an empty name, or a URL.
  """
  if folder is not None and (not folder or '://' in folder):
    raise UserError(
      f"--compilation_cache is '{folder}'; it takes a local folder, or 'off'."
    )
  config = jax.config
  if folder is None and (
    config.jax_compilation_cache_dir
    or not config.jax_enable_compilation_cache
    # Only process 0 writes, and other machines may not see its folder. On GPUs
    # all processes autotune together: one that loads a program instead blocks
    # the others.
    or distributed.several()
  ):
    return
  path = None if folder == 'off' else _open(folder)
  config.update('jax_enable_compilation_cache', path is not None)
  if path is not None:
    config.update('jax_compilation_cache_dir', str(path))
    for name, value in _SETTINGS.items():
      if name.upper() not in os.environ:
        config.update(name, value)


def _open(folder: str | None) -> pathlib.Path | None:
  """Returns the subfolder for this CPU; warns and returns None if unsafe."""
  # The XDG standard says to ignore relative paths.
  home = os.environ.get('XDG_CACHE_HOME', '')
  home = home if os.path.isabs(home) else '~/.cache'
  root = pathlib.Path(folder or f'{home}/vivit_jax/xla')
  try:
    root = root.expanduser().absolute()
    path = root / f'jax{jax.__version__}-{platform.machine()}-{_cpu()}'
    for part in (root, path):
      part.mkdir(mode=0o700, parents=True, exist_ok=True)
      status = part.stat()
      if status.st_uid != os.geteuid():
        raise OSError(f'{part} belongs to another user')
      if status.st_mode & 0o022:
        raise OSError(f'others can write to {part} (chmod go-w)')
  except (OSError, RuntimeError) as error:  # RuntimeError: a user without home
    if distributed.first():
      print(f'warning: no compilation cache: {error}.', file=sys.stderr)
    return None
  return path


def _cpu() -> str:
  """Returns a hash of the CPU's model and the number of usable cores.

  jax's cache keys contain neither. Another CPU may lack instructions, and XLA
  splits loops by cores.
  """
  try:
    first = pathlib.Path('/proc/cpuinfo').read_text().split('\n\n')[0]
    model = [line for line in first.splitlines() if line.startswith(_CPU)]
  except OSError:  # not Linux
    model = [platform.processor()]
  affinity = getattr(os, 'sched_getaffinity', None)
  model.append(str(len(affinity(0)) if affinity else os.cpu_count()))
  return hashlib.sha256('\n'.join(model).encode()).hexdigest()[:12]
