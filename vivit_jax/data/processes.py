"""What worker processes of this room have in common."""

import ctypes
import signal
import sys


def obey_parent() -> None:
  """Readies a worker process: Ctrl-C and its end are the parent's to decide.

  The worker ignores Ctrl-C, which a terminal sends to all processes, and ends
  with its parent, even a killed one, where the system can do that (Linux).
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  if sys.platform.startswith('linux'):
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
