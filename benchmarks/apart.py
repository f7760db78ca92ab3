"""Processes of their own, in which something is measured."""

import contextlib
from collections.abc import Callable
from concurrent import futures
from typing import Any

from vivit_jax import processes

_ENDED = 'a process that measures was ended from outside (is memory short?).'


def process(
  begin: Callable[..., None] = processes.obey_parent,
  arguments: tuple[Any, ...] = (),
) -> contextlib.AbstractContextManager[futures.Executor]:
  """Gives a process to `call` in; see `processes.pool`."""
  return processes.pool(1, _ENDED, begin, arguments)


def call(
  pool: futures.Executor, function: Callable[..., Any], *arguments: Any
) -> Any:
  """Returns what a function of a module returns there."""
  with processes.interrupts_held():
    waiting = pool.submit(function, *arguments)
  return waiting.result()
