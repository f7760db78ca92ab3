"""What the windows of a long video say, as a line of time."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from vivit_jax.inference.predictor import Window

_WHOLE_SECONDS = 10.0  # windows that are as long need no parts of a second


@dataclasses.dataclass(frozen=True)
class Segment:
  """Neighbouring windows with the same likeliest label of a head.

  Attributes:
    head: whose label.
    start, end: seconds.
    label: the likeliest one in each of the windows.
    probability: its mean over the windows.
  """

  head: str
  start: float
  end: float
  label: str
  probability: float

  def to_json(self) -> dict[str, Any]:
    return {
      'start': round(self.start, 3),
      'end': round(self.end, 3),
      'label': self.label,
      'probability': round(self.probability, 6),
    }


def segments(windows: Iterable[Window]) -> Iterator[Segment]:
  """Yields segments of all heads, each when it ends.

  Where windows overlap, or leave gaps, one ends and the next begins in the
  middle of what they share, or leave out: a moment is in one segment of a head.
  """
  opened: dict[str, tuple[float, str, list[float]]] = {}
  before = None
  for window in windows:
    middle = window.start
    if before is not None:
      middle = (before.end + window.start) / 2
    for head, ranking in window.heads.items():
      label, probability = ranking.labels[0], float(ranking.probabilities[0])
      if head in opened and opened[head][1] != label:
        yield _closed(head, opened.pop(head), middle)
      opened.setdefault(head, (middle, label, []))[2].append(probability)
    before = window
  for head, held in opened.items():
    yield _closed(head, held, before.end)


def _closed(
  head: str, held: tuple[float, str, list[float]], end: float
) -> Segment:
  start, label, probabilities = held
  mean = sum(probabilities) / len(probabilities)
  return Segment(head, start, end, label, mean)


def clock(seconds: float, whole: bool = True) -> str:
  """Returns '1:02:03', or '2:03' below an hour; '2:03.4' if not whole."""
  tenths = round(seconds) * 10 if whole else round(seconds * 10)
  minutes, tenths = divmod(tenths, 600)
  hours, minutes = divmod(minutes, 60)
  rest = f'{tenths // 10:02}' + ('' if whole else f'.{tenths % 10}')
  return f'{hours}:{minutes:02}:{rest}' if hours else f'{minutes}:{rest}'


def line(segment: Segment, window: float | None, heads: int = 1) -> str:
  """Returns '0:00-0:12 stir 0.91', for people.

  Args:
    segment: what to say.
    window: seconds of the windows asked for, or None.
    heads: of the model; of several, the line names its own.
  """
  whole = window is not None and window >= _WHOLE_SECONDS
  times = f'{clock(segment.start, whole)}-{clock(segment.end, whole)}'
  whose = f'{segment.head} ' if heads > 1 else ''
  return f'{times} {whose}{segment.label} {segment.probability:.2f}'
