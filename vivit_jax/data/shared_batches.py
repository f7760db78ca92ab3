"""Batches in shared memory that worker processes reuse.

Allocating, mapping and freeing memory for every batch would take a fifth of its
decoding time, so a worker keeps its blocks. The parent process maps a block
once, and marks it as free when no array uses it any more.
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
  """Returns an uninitialised uint8 array, and the object to put into a batch.

  In a worker, that object is a handle, which unpickles to the array in the
  parent; in other processes, it is the array itself.
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
  """A picklable handle of a shared array, to which it unpickles."""

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
