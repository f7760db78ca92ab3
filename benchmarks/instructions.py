"""What a compiled program moves in memory, counted in its HLO text."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.-]+) \(.*\{$')
_INSTRUCTION = re.compile(
  r'\s+(?:ROOT )?%?[\w.-]+ = (?P<type>\([^=]*?\)|\S+) (?P<opcode>[\w-]+)\('
)
_ARRAY = re.compile(r'([a-z]+\d*\w*)\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:calls|to_apply|body|condition|branch_computations|'
  r'called_computations)=(\{[^}]*\}|%?[\w.-]+)'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclasses.dataclass
class Moved:
  """Instructions of a kind.

  Attributes:
    count: how often they are written in the program.
    moved: bytes of their results in one run, in which a loop's count as often
      as it turns.
  """

  count: int = 0
  moved: int = 0


def count(text: str, *opcodes: str) -> dict[str, Moved]:
  """Counts a compiled program's instructions, those in fusions too.

  A transpose that the layout of its result turns into no movement counts as
  others do: XLA fuses it with the copy that moves the bytes, if any does.

  Args:
    text: of `compiled.as_text()`.
    *opcodes: of XLA, as 'copy' or 'transpose'.
  """
  computations, entry = _computations(text)
  times = _times(computations, entry)
  found = {opcode: Moved() for opcode in opcodes}
  for name, lines in computations.items():
    for line in lines:
      match = _INSTRUCTION.match(line)
      if match and match['opcode'] in found:
        moved = found[match['opcode']]
        moved.count += 1
        moved.moved += times[name] * _bytes(match['type'])
  return found


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  """Returns the lines of each computation, and the name of the first to run."""
  found, entry, lines = {}, '', None
  for line in text.splitlines():
    match = _COMPUTATION.match(line)
    if match:
      lines = found[match[2]] = []
      entry = match[2] if match[1] else entry
    elif line == '}':
      lines = None
    elif lines is not None:
      lines.append(line)
  return found, entry


def _times(
  computations: dict[str, list[str]], entry: str
) -> collections.Counter[str]:
  """Returns how often each computation runs; a loop of unknown length, once."""
  times = collections.Counter()

  def run(name: str, often: int) -> None:
    times[name] += often
    for line in computations[name]:
      trips = _TRIPS.search(line)
      for called in _called(line):
        run(called, often * (int(trips[1]) if trips else 1))

  run(entry, 1)
  return times


def _called(line: str) -> Iterator[str]:
  for match in _CALLED.finditer(line):
    for name in match[1].strip('{}').split(','):
      yield name.strip().lstrip('%')


def _bytes(shape: str) -> int:
  """Returns the size of arrays as HLO writes them: f32[2,3]{1,0}."""
  size = 0
  for element, sides in _ARRAY.findall(shape):
    digits = re.search(r'\d+', element)
    bits = int(digits[0]) if digits else 8  # pred
    size += math.prod(int(side) for side in sides.split(',') if side) * bits
  return -(-size // 8)
