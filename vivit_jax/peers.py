"""What the processes of a run tell each other without a collective.

Collectives want all processes at the same point, within seconds on some
devices, and say badly which one is missing. What is here goes through jax's
coordination service, which process 0 holds: keys with values, and barriers.
"""

import atexit
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping

import jax

from vivit_jax.errors import UserError

_WAIT_SECONDS = 30 * 60  # for others that restore, or prepare a dataset
_SIGN_SECONDS = 2  # from one sign of life to the next
_SILENT_SECONDS = 20  # without one, a process is named
_LOST_SECONDS = 8  # likewise, once communication has failed
_GRACE_SECONDS = 3  # for a mistake that all processes find by themselves
_ENDED, _ALIVE, _SAME = 'run/ended/', 'run/alive/', 'run/same/'
_MISTAKE, _DIED = 2, 1  # exit codes

_leaving = threading.Event()  # this process is about to end by itself
_heartbeat_seconds = 0


def _client():
  """Returns the service's client, None alone.

  It is private to jax, which has no other way to keys and barriers; Orbax takes
  the same.
  """
  from jax._src import distributed

  return distributed.global_state.client


def watch(heartbeat_seconds: int) -> None:
  """Lets this process hear of the others' ends, and ends it by one line.

  Args:
    heartbeat_seconds: after so long without one, jax ends all processes.
  """
  touch = threading.Thread(target=_keep_in_touch, daemon=True)
  touch.start()
  if jax.process_index() > 0:
    _delay_abort()
    threading.Thread(target=_notice_first, daemon=True).start()

  def leave():
    _leaving.set()
    touch.join(5)  # Python cannot end while it is in C++

  atexit.register(leave)
  global _heartbeat_seconds
  _heartbeat_seconds = heartbeat_seconds


def wait_for_all(what: str) -> None:
  """Returns when all processes have called this.

  Args:
    what: they are ready for, a name used once.

  Raises:
    UserError: some do not come within half an hour.
  """
  if jax.process_count() == 1:
    return
  try:
    _client().wait_at_barrier(f'run/{what}', _WAIT_SECONDS * 1000)
  except jax.errors.JaxRuntimeError:
    raise UserError(
      f'the processes of the run are not all ready for {what} within '
      f'{_WAIT_SECONDS} s: look at what each prints.'
    ) from None


def check_same(what: str, values: Mapping[str, object]) -> None:
  """Checks that all processes have the same values, which JSON can hold.

  Process 0 looks at all, each other one at process 0's.

  Args:
    what: they are, a name used once.
    values: of this process.

  Raises:
    UserError: which process has another value, and of which key.
  """
  count, me = jax.process_count(), jax.process_index()
  if count == 1:
    return
  client = _client()
  mine = json.loads(json.dumps(values))
  client.key_value_set(f'{_SAME}{what}/{me}', json.dumps(values))
  for number in range(1, count) if me == 0 else (0,):
    try:
      key = f'{_SAME}{what}/{number}'
      text = client.blocking_key_value_get(key, _WAIT_SECONDS * 1000)
    except jax.errors.JaxRuntimeError:
      raise UserError(
        f'process {number} of the run does not say its {what} within '
        f'{_WAIT_SECONDS} s: look at what it prints.'
      ) from None
    theirs = json.loads(text)
    first, other = (mine, theirs) if me == 0 else (theirs, mine)
    for key in sorted(first.keys() | other.keys()):
      if first.get(key) != other.get(key):
        raise UserError(
          f'the processes of the run differ in {what}: {key} is '
          f'{other.get(key)!r} in process {number or me} and '
          f'{first.get(key)!r} in process 0. Start all by the same command.'
        )


def tell_end(sentence: str, code: int = _MISTAKE) -> None:
  """Tells the others that, and why, this process is about to end."""
  if _client() is None:
    return
  _leaving.set()
  said = json.dumps([code, jax.process_index(), sentence])
  try:
    _client().key_value_set(f'{_ENDED}first', said)
  except jax.errors.JaxRuntimeError:
    pass  # another was first, or process 0 is away
  if jax.process_index() == 0:  # with which the service ends
    time.sleep(_SIGN_SECONDS + _GRACE_SECONDS + 1)


def end_after(error: Exception) -> None:
  """Ends a process of several after an error that nobody foresaw.

  Where it is one of communication, most likely another process has died: it is
  found by the signs of life that it does not give.
  """
  # Collectives on CPUs may raise a ValueError.
  if isinstance(error, jax.errors.JaxRuntimeError) or 'Gloo' in str(error):
    signs, until = _Signs(), time.monotonic() + _heartbeat_seconds + 20
    while time.monotonic() < until:
      for number in signs.silent(_LOST_SECONDS):
        line = _died(number)
        tell_end(line, _DIED)
        _end(line, _DIED)
      time.sleep(_SIGN_SECONDS / 2)
  traceback.print_exception(error)
  sys.stderr.flush()
  tell_end(f'{type(error).__name__}: {first_line(error)}', _DIED)
  os._exit(_DIED)  # Python's own ending would wait for the other processes


def first_line(error: Exception) -> str:
  """Returns the beginning of an error's message."""
  return (str(error).splitlines() or [''])[0].rstrip('.')[:200]


def _died(number: int) -> str:
  return (
    f'process {number} of the run has died: the others end, and the same '
    'command goes on from the last checkpoint.'
  )


def _end(line: str, code: int) -> None:
  """Ends this process by a line."""
  os.write(2, f'\nerror: {line}\n'.encode())
  os._exit(code)


def _keep_in_touch() -> None:
  """Gives signs of life, and ends this process when another one says it ends.

  Process 0 names those that give none; that they are dead, jax decides later.
  """
  me, count, signs = jax.process_index(), 0, _Signs()
  while not _leaving.wait(_SIGN_SECONDS):
    count += 1
    try:
      _client().key_value_set(f'{_ALIVE}{me}', str(count), allow_overwrite=True)
      ended = _client().key_value_dir_get(_ENDED)
    except jax.errors.JaxRuntimeError:
      continue  # process 0 is away, which others notice
    for _, said in ended:
      _follow(*json.loads(said))
    for number in signs.silent(_SILENT_SECONDS) if me == 0 else ():
      line = (
        f'process {number} of the run has given no sign of life for '
        f'{_SILENT_SECONDS} s: if it has died, all end.'
      )
      os.write(2, f'\nwarning: {line}\n'.encode())


def _follow(code: int, number: int, sentence: str) -> None:
  """Ends this process after another one, unless it does by itself."""
  if number == jax.process_index() or _leaving.wait(_GRACE_SECONDS):
    return
  if code == _MISTAKE:
    sentence = f'process {number} of the run has ended: {sentence}'
  _end(sentence, code)


class _Signs:
  """The signs of life that are seen here."""

  def __init__(self):
    self._seen: dict[str, tuple[str, float]] = {}

  def silent(self, seconds: float) -> list[int]:
    """Returns the processes that have given none for so long, once each."""
    try:
      there = _client().key_value_dir_get(_ALIVE)
    except jax.errors.JaxRuntimeError:
      return []
    now, found = time.monotonic(), []
    for key, count in there:
      before, since = self._seen.get(key, (None, now))
      self._seen[key] = (count, now if count != before else since)
      if count == before and now - since > seconds:
        found.append(int(key.rpartition('/')[2]))
        self._seen[key] = (count, float('inf'))
    return sorted(found)


def _delay_abort() -> None:
  """Makes an abort of C++ wait for six seconds (Linux).

  In them, `_notice_first` has its line out. The handler is sleep(3), safe in a
  signal's context; its argument is the signal's number.
  """
  if sys.platform.startswith('linux'):
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal.restype = ctypes.c_void_p
    sleep = ctypes.cast(library.sleep, ctypes.c_void_p)
    library.signal(signal.SIGABRT, sleep)


def _notice_first() -> None:
  """Ends this process when process 0 has died, by its port, which is closed.

  jax notices at the same moment, and would end this by a stack of C++.
  """
  from jax._src import distributed

  address = distributed.global_state.coordinator_address
  host, _, port = address.rpartition(':')
  while not _leaving.is_set():
    try:
      # The service closes what does not speak its protocol after a while.
      with socket.create_connection((host.strip('[]'), int(port)), 60) as there:
        there.settimeout(None)
        while there.recv(4096):
          pass
    except ConnectionRefusedError:
      if not _leaving.is_set():
        _end(_died(0), _DIED)
    except OSError:
      time.sleep(1)
