"""Compiled programs are kept from one command to the next.

XLA compiles a program in seconds, or minutes; jax can load it from a file
instead. Commands set that up, the library never does. A file holds machine
code, which jax runs as it is (no pickle): so the folder is its user's alone,
and one that others can write in is refused.
"""

import functools
import hashlib
import os
import pathlib
import platform
import sys

import jax
import jaxlib
from jax._src import compilation_cache as of_jax

from vivit_jax import distributed
from vivit_jax.errors import UserError
from vivit_jax.program_store import ProgramStore

OFF = 'off'
_MOST_BYTES = 2 * 2**30
_LEAST_SECONDS = 0.1  # of compiling; what takes less is not worth a file
_CPUINFO = pathlib.Path('/proc/cpuinfo')
# Of /proc/cpuinfo: what code for a CPU is chosen by, on x86 and on ARM.
_CPU = (
  'vendor_id',
  'cpu family',
  'model',
  'model name',
  'stepping',
  'flags',
  'CPU implementer',
  'CPU architecture',
  'CPU part',
  'Features',
)


def set_up(place: str | None = None) -> None:
  """Makes jax keep what it compiles from here on, and load what it has kept.

  The folder is made, and looked at, when the first program is compiled. Where
  it cannot be used, a line on the standard error says so, and the command goes
  on without.

  Args:
    place: a folder, or 'off'; None: what jax has been told already
      (JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE), else
      `vivit_jax/xla` in the user's folder for caches.

  Raises:
    UserError: an empty name, or an address.
  """
  if place == '':
    raise UserError(
      "--compilation_cache is empty; it takes a folder, or 'off'."
    )
  if place is not None and '://' in place:
    raise UserError(
      f"--compilation_cache is {place}; it takes a folder on a disk, or 'off'."
    )
  if place == OFF:
    jax.config.update('jax_enable_compilation_cache', False)
    return
  told = bool(jax.config.jax_compilation_cache_dir)  # '' of an empty variable
  if place is None and (told or not jax.config.jax_enable_compilation_cache):
    return
  if not hasattr(of_jax, 'get_file_cache'):
    _warn(f'there is none with jax {jax.__version__}')
    return
  try:
    root = users_folder() if place is None else pathlib.Path(place)
    root = root.expanduser().absolute()
  except RuntimeError:  # a user without a home
    _warn("there is none, for the user's home is unknown")
    return
  jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', str(root))
  # XLA's files beside jax's, which have no checksum; and their place would
  # count as another program.
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    jax.config.update(
      'jax_persistent_cache_min_compile_time_secs', _LEAST_SECONDS
    )
  # jax has no public name for a store of one's own.
  of_jax.get_file_cache = functools.partial(_open, root, place is not None)


def users_folder() -> pathlib.Path:
  """Returns where programs are kept that no flag says a folder for.

  Raises:
    RuntimeError: the user's home is unknown.
  """
  given = os.environ.get('XDG_CACHE_HOME', '')
  # The standard of that variable tells to ignore what is no absolute path.
  cache = pathlib.Path(given if os.path.isabs(given) else '~/.cache')
  return cache.expanduser() / 'vivit_jax' / 'xla'


def machine() -> str:
  """Returns what differs where a program for this CPU may not run, or not well.

  XLA splits loops by the cores that a process may use, which jax's keys leave
  out; other CPUs lack instructions, or are chosen other ones for.
  """
  parts = [platform.machine(), platform.processor(), str(_cores())]
  try:
    first = _CPUINFO.read_text().split('\n\n')[0]
  except OSError:  # not Linux
    first = ''
  for line in first.splitlines():
    name, _, value = line.partition(':')
    if name.strip() in _CPU:
      parts.append(f'{name.strip()}:{value.strip()}')
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def _cores() -> int:
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _open(
  root: pathlib.Path, given: bool, path: str
) -> tuple[ProgramStore, str] | None:
  """Returns the store that jax asks for at its first program; None without.

  Args:
    root: of the folders of all machines and versions.
    given: whether the user has named it.
    path: what jax has been told, which it gets back.
  """
  if jax.process_count() > 1 and jax.default_backend() != 'cpu' and not given:
    # Where several processes compile for GPUs, they try out kernels together:
    # one that loads its program would let the others wait. The user's cache
    # may be on a disk of one machine, where only process 0 writes.
    return None
  versions = f'jax{jax.__version__}-jaxlib{jaxlib.__version__}'
  folder = root / f'{versions}-{jax.default_backend()}-{machine()}'
  for claimed in (root, folder):
    try:
      wrong = _claim(claimed)
    except OSError as error:
      wrong = error.strerror or str(error)
    if wrong:
      _warn(f'{claimed} is not used: {wrong}')
      return None
  most = jax.config.jax_compilation_cache_max_size
  most = _MOST_BYTES if most < 0 else most
  return ProgramStore(folder, most, _warn), path


def _claim(folder: pathlib.Path) -> str | None:
  """Makes a folder for this user alone; returns what is wrong with it."""
  folder.mkdir(mode=0o700, parents=True, exist_ok=True)
  status = folder.stat()
  if status.st_uid != os.geteuid():
    return 'it belongs to another user'
  if status.st_mode & 0o022:
    return 'others can write in it (chmod go-w mends that)'
  if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
    return 'it cannot be written in'
  return None


def _warn(what: str) -> None:
  """Tells, in one process of a run, what is wrong and ends nothing."""
  if distributed.first():
    print(f'warning: compilation cache: {what}.', file=sys.stderr, flush=True)
