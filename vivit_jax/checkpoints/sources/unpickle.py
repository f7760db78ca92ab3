"""Reads a pickle as data. Nothing is imported, called or built.

Values become plain numbers, texts, lists, tuples and dicts. A global is only a
name. torch's call for a tensor becomes a `Tensor`; an object of another class,
and a call of a function that writes data (`_HARMLESS`), becomes `Opaque`. Any
other call is refused: it is there to run something. Memory and time are
bounded: each opcode makes one small object, and there are at most
`MAX_OPCODES`.
"""

import dataclasses
import pickletools
import re
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

MAX_OPCODES = 1 << 22  # released checkpoints of 1 GB have up to 10 ** 5
_MAX_AXES = 32  # numpy's limit on the axes of an array was 32
_MAX_BITS = 62  # of a number
_MAX_NAME = 1000  # letters of a global

_DTYPES = {
  'Float': '<f4',
  'Double': '<f8',
  'Half': '<f2',
  'BFloat16': ml_dtypes.bfloat16,
  'ComplexFloat': '<c8',
  'ComplexDouble': '<c16',
  'Long': '<i8',
  'Int': '<i4',
  'Short': '<i2',
  'Char': 'i1',
  'Byte': 'u1',
  'Bool': '?',
}
_STORAGES = {
  f'{module} {kind}Storage': np.dtype(dtype)
  for module in ('torch', 'torch.storage')
  for kind, dtype in _DTYPES.items()
}
# Functions that are called to write data, beside those of torch's tensors.
_HARMLESS = re.compile(
  r'torch\._(utils|tensor) _rebuild\w+|torch (device|Size)|'
  r'numpy(\._?core\.multiarray)? (scalar|dtype|_reconstruct|ndarray)|'
  r'argparse Namespace|(collections|datetime|pathlib) \w+|_codecs encode|'
  r'(builtins|__builtin__) (set|frozenset|bytearray|complex|slice|range)'
)
_MARK = object()
_BROKEN = LookupError, TypeError, AttributeError, OverflowError, MemoryError
_CONSTANTS = {
  'NONE': None,
  'NEWTRUE': True,
  'NEWFALSE': False,
  'EMPTY_TUPLE': (),
}
# Opcodes whose argument is the value: INT, BININT1, BINUNICODE, ...
_LITERAL = (
  *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4'),
  *('FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING', 'SHORT_BINSTRING'),
  *('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
  *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'),
)


class Forbidden(Exception):
  """A call that no data needs; the argument is the function's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Global:
  """A name in a pickle: 'module name'."""

  name: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Opaque:
  """An object of a type that is not read; `name` is its class or function."""

  name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
  """Numbers in the file: their type, key, and count in elements."""

  dtype: np.dtype
  key: str
  count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
  """A strided view of a storage, in elements; all numbers are >= 0."""

  storage: Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]

  @property
  def span(self) -> int:
    """Number of elements from the first to the last one."""
    if 0 in self.size:
      return 0
    return 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride))


def load(stream: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
  """Reads one pickle; the stream is then after its end.

  Args:
    stream: at the start of the pickle.
    storages: receives all storages that the pickle names, by key.

  Raises:
    ValueError: a damaged pickle, or one that is too large.
    Forbidden: a call of an unknown function.
  """
  try:
    return _Machine({} if storages is None else storages).run(stream)
  except _BROKEN as error:
    raise ValueError(f'broken pickle: {type(error).__name__}') from None


class _Machine:
  """The stack machine of pickles."""

  def __init__(self, storages: dict[str, Storage]):
    self.stack: list[Any] = []
    self.memo: dict[int, Any] = {}
    self.storages = storages
    self.left = MAX_OPCODES

  def run(self, stream: BinaryIO) -> Any:
    for opcode, argument, _ in pickletools.genops(stream):
      self.spend(1)
      if opcode.name == 'STOP':
        return self.stack.pop()
      self.step(opcode.name, argument)
    raise ValueError('the pickle has no end')

  def spend(self, count: int) -> None:
    self.left -= count
    if self.left < 0:
      raise ValueError('its pickle is too large')

  def step(self, opcode: str, argument: Any) -> None:
    """Executes one opcode."""
    push, pop = self.stack.append, self.stack.pop
    if opcode in _LITERAL:
      return push(argument)
    if opcode in _CONSTANTS:
      return push(_CONSTANTS[opcode])
    match opcode:
      case 'PROTO' | 'FRAME':
        pass
      case 'MARK':
        push(_MARK)
      case 'POP':
        pop()
      case 'POP_MARK':
        self.pop_mark()
      case 'DUP':
        push(self.stack[-1])
      case 'PUT' | 'BINPUT' | 'LONG_BINPUT':
        self.memo[argument] = self.stack[-1]
      case 'MEMOIZE':
        self.memo[len(self.memo)] = self.stack[-1]
      case 'GET' | 'BINGET' | 'LONG_BINGET':
        push(self.memo[argument])
      case 'TUPLE':
        push(tuple(self.pop_mark()))
      case 'TUPLE1' | 'TUPLE2' | 'TUPLE3':
        count = int(opcode[-1])
        push(tuple([pop() for _ in range(count)][::-1]))
      case 'EMPTY_LIST':
        push([])
      case 'LIST':
        push(self.pop_mark())
      case 'APPEND':
        self.extend([pop()])
      case 'APPENDS':
        self.extend(self.pop_mark())
      case 'EMPTY_DICT':
        push({})
      case 'DICT':
        items = self.pop_mark()
        push({})
        self.update(items)
      case 'SETITEM':
        self.update([pop(), pop()][::-1])
      case 'SETITEMS':
        self.update(self.pop_mark())
      case 'EMPTY_SET':
        push(Opaque('builtins set'))
      case 'FROZENSET':
        self.pop_mark()
        push(Opaque('builtins frozenset'))
      case 'ADDITEMS':
        self.pop_mark()
      case 'BUILD':  # an object's state, as the _metadata of a state dict
        pop()
      case 'GLOBAL':
        push(_global(argument))
      case 'STACK_GLOBAL':
        name, module = pop(), pop()
        if type(name) is not str or type(module) is not str:
          raise ValueError('a global has no name')
        push(_global(name, module))
      case 'REDUCE':
        arguments, function = pop(), pop()
        push(self.called(function, arguments))
      case 'NEWOBJ':
        pop()
        push(Opaque(pop().name))
      case 'NEWOBJ_EX':
        pop(), pop()
        push(Opaque(pop().name))
      case 'INST':
        self.pop_mark()
        push(self.called(_global(argument), None))
      case 'OBJ':
        push(self.called(self.pop_mark()[0], None))
      case 'BINPERSID':
        push(self.storage(pop()))
      case _:
        raise ValueError(f'unknown opcode {opcode}')

  def pop_mark(self) -> list[Any]:
    """Pops everything after the last mark, and the mark."""
    items = []
    while (item := self.stack.pop()) is not _MARK:
      items.append(item)
    return items[::-1]

  def extend(self, items: list[Any]) -> None:
    """Appends to the list on the stack; an `Opaque` stays one."""
    if not isinstance(self.stack[-1], Opaque):
      self.stack[-1].extend(items)

  def update(self, items: list[Any]) -> None:
    """Adds [key, value, ...] to the dict on the stack.

    Other keys than text and small integers, which may take forever to hash,
    become `Opaque`.
    """
    if isinstance(self.stack[-1], Opaque):
      return
    for key, value in zip(items[::2], items[1::2], strict=True):
      plain = type(key) is str or _is_number(key)
      key = key if plain else Opaque(type(key).__name__)
      self.stack[-1][key] = value

  def called(self, function: Global | Opaque, arguments: Any) -> Any:
    """Returns what torch's functions for tensors would, else an `Opaque`.

    Raises:
      Forbidden: a call of a function that `_HARMLESS` does not have.
    """
    match function.name, arguments:
      case 'collections OrderedDict', ():
        return {}
      case 'collections OrderedDict', ([*pairs],):  # of Python 2
        self.spend(len(pairs))
        self.stack.append({})
        self.update([x for key, value in pairs for x in (key, value)])
        return self.stack.pop()
      case 'torch Size', (tuple() as size,):
        return size
      case (
        (
          'torch._utils _rebuild_parameter'
          | 'torch._utils _rebuild_parameter_with_state'
        ),
        (Tensor() | Opaque() as data, *_),
      ):
        return data
      case 'torch._utils _rebuild_tensor_v2', (
        Storage() as storage,
        offset,
        tuple() as size,
        tuple() as stride,
        *_,
      ):
        if len(size) != len(stride) or len(size) > _MAX_AXES:
          raise ValueError(f'a tensor of {len(size)} axes')
        if not all(_is_number(x) and x >= 0 for x in (offset, *size, *stride)):
          raise ValueError('a tensor with a size that is no number')
        return Tensor(storage, offset, size, stride)
      case 'torch._utils _rebuild_tensor_v2', (Opaque() as storage, *_):
        return storage
    if not _HARMLESS.fullmatch(function.name):
      raise Forbidden(function.name)
    return Opaque(function.name)

  def storage(self, identifier: Any) -> Storage | Opaque:
    """Returns the storage of a persistent id."""
    match identifier:
      case (
        'storage', Global(name), str() as key, _, count
      ) | (
        'storage', Global(name), str() as key, _, count, None
      ) if _is_number(count) and count >= 0:  # fmt: skip
        if name not in _STORAGES:
          return Opaque(name)
        storage = Storage(_STORAGES[name], key, count)
        if self.storages.setdefault(key, storage) == storage:
          return storage
    raise ValueError('a storage is not described as torch does')


def _global(*name: str) -> Global:
  # Short, as each may be matched or joined many times.
  if sum(map(len, name)) > _MAX_NAME:
    raise ValueError('a global has an endless name')
  return Global(' '.join(reversed(name)))


def _is_number(value: Any) -> bool:
  return type(value) is int and value.bit_length() <= _MAX_BITS
