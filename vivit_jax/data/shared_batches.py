"""Pixels in shared memory, which workers use again for later batches.

To allocate, map and free the pages of every batch would take a fifth of the
time of decoding it. So a worker keeps its blocks of memory. The parent maps
each once, and marks it as free when nothing refers to its pixels any more.
"""

import ctypes
import math
import weakref
from collections.abc import Sequence
from multiprocessing import shared_memory
from typing import Any

import numpy as np

_FREE, _IN_USE = 0, 1  # last byte of a block


class _Block(shared_memory.SharedMemory):
  """A block that may be closed while arrays refer to it: they keep it."""

  def close(self) -> None:
    try:
      super().close()
    except BufferError:
      pass


class _Owner:
  """The user of blocks in this process.

  Attributes:
    iterator: in a worker, the name of the iterator that it works for.
    blocks: in a worker, its own blocks.
    mapped: in the parent, the blocks of each iterator, by name.
  """

  iterator: str | None = None
  blocks: list[_Block] = []
  mapped: dict[str, dict[str, _Block]] = {}


def start_worker(iterator: str) -> None:
  """Lets this process, a worker of an iterator, share its batches."""
  _Owner.iterator = iterator


def new(shape: Sequence[int]) -> tuple[np.ndarray, Any]:
  """Returns an array, uint8 of a shape, and what a worker sends to its parent.

  The parent receives the same array. In other processes, both are the array.
  """
  if _Owner.iterator is None:
    array = np.empty(shape, np.uint8)
    return array, array
  size = math.prod(shape)
  for block in _Owner.blocks:
    if block.buf[-1] == _FREE and block.size > size:
      break
  else:
    block = _Block(create=True, size=size + 1)
    _Owner.blocks.append(block)
  block.buf[-1] = _IN_USE
  array = np.frombuffer(block.buf, np.uint8, size).reshape(shape)
  return array, _Sent(block.name, shape)


def end(iterator: str) -> None:
  """Unmaps the blocks of an iterator that has ended, except those in use."""
  _Owner.mapped.pop(iterator, None)


class _Sent:
  """An array on its way; unpickled, it is the array."""

  def __init__(self, name: str, shape: Sequence[int]):
    self.name, self.shape = name, shape

  def __reduce__(self):
    return _receive, (_Owner.iterator, self.name, self.shape)


def _receive(iterator: str, name: str, shape: Sequence[int]) -> np.ndarray:
  mapped = _Owner.mapped.setdefault(iterator, {})
  if name not in mapped:
    mapped[name] = _Block(name)
    mapped[name].unlink()  # both processes have it; nothing is left behind
  block = mapped[name]
  pixels = (ctypes.c_ubyte * math.prod(shape)).from_buffer(block.buf)
  # Arrays refer to `pixels`, however they are sliced.
  weakref.finalize(pixels, _release, block).atexit = False
  return np.frombuffer(pixels, np.uint8).reshape(shape)


def _release(block: _Block) -> None:
  block.buf[-1] = _FREE
