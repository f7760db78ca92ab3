"""Compiled programs on disk: whole, checked, and no more than a bound.

jax's own store writes an entry in place, so a process that is killed leaves a
part of one; it never replaces one that it cannot read; and it needs a lock of
one process at a time to bound its size. Here an entry appears whole or not at
all, has a checksum, and is removed where that does not fit. Processes share a
folder without a lock: whoever is last to write an entry wins, and one that
another process has removed is compiled again.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import stat
from collections.abc import Callable

from vivit_jax import files

_SUFFIX = '.xla-program'
_NAME_LENGTH = 150  # characters, of the end of a key, where its hash is
_DIGEST = hashlib.sha256().digest_size  # bytes, before the program's own


class ProgramStore:
  """What jax asks for compiled programs, by their keys.

  Neither method raises an error: without its file, a program is compiled.

  Args:
    folder: of the programs, which is there; folders beside it are counted too.
    most_bytes: of the programs in all folders; the least recently used go.
    warn: is told in a sentence, once, of what is wrong with the files.
  """

  def __init__(
    self, folder: pathlib.Path, most_bytes: int, warn: Callable[[str], None]
  ):
    self._path = folder  # jax reads this name
    self._most_bytes, self._warn = most_bytes, warn
    self._told = False

  def get(self, key: str) -> bytes | None:
    """Returns the program of a key; None where there is none that is whole."""
    path = self._file(key)
    try:
      held = path.read_bytes()
    except FileNotFoundError:
      return None
    except OSError as error:
      self._tell(f'{path} cannot be read: {error.strerror or error}')
      return None
    program = held[_DIGEST:]
    if held[:_DIGEST] != _digest(key, program):
      self._tell(f'{path} is damaged: it is compiled again')
      with contextlib.suppress(OSError):
        path.unlink()
      return None
    with contextlib.suppress(OSError):
      os.utime(path)  # used now
    return program

  def put(self, key: str, program: bytes) -> None:
    """Keeps the program of a key, if there is room for it."""
    held = _digest(key, program) + program
    if len(held) > self._most_bytes:
      return
    path = self._file(key)
    try:
      self._make_room(len(held))
      with files.replacing(path) as unfinished:
        unfinished.write_bytes(held)
    except OSError as error:
      self._tell(f'{path} cannot be written: {error.strerror or error}')

  def _file(self, key: str) -> pathlib.Path:
    name = re.sub(r'[^\w.-]', '_', key)[-_NAME_LENGTH:]
    return self._path / f'{name}{_SUFFIX}'

  def _make_room(self, size: int) -> None:
    """Removes programs, those unused for longest first, for one more."""
    found = []
    # With those that a killed process has left unfinished.
    for path in self._path.parent.glob(f'*/*{_SUFFIX}*'):
      with contextlib.suppress(FileNotFoundError):  # another process's turn
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
          continue  # not ours
        found.append((status.st_mtime_ns, path, status.st_size))
    over = sum(held for *_, held in found) + size - self._most_bytes
    for _, path, held in sorted(found):
      if over <= 0:
        return
      path.unlink(missing_ok=True)
      over -= held

  def _tell(self, sentence: str) -> None:
    if not self._told:
      self._told = True
      self._warn(sentence)


def _digest(key: str, program: bytes) -> bytes:
  return hashlib.sha256(key.encode() + b'\0' + program).digest()
