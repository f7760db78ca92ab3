"""The mistakes that a model is surest of, with some frames of each video."""

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.page import contact_sheets
from vivit_jax.evaluation.page.document import count, name, percent, text
from vivit_jax.evaluation.predictions import Table

SHEETS = 24  # of all heads together
_FRAMES = 8  # of a video
_LONG_SIDE = 176  # pixels of a frame, at most
_SMALL = 96  # pixels; frames of fewer are enlarged, pixel by pixel
_QUALITY = 80  # of JPEGs


@dataclasses.dataclass(frozen=True)
class Mistake:
  """One video of which a model is wrong.

  Attributes:
    example: its row in the table of predictions.
    guess: the class that the model finds likeliest.
    truth: its labels, the likeliest first; maybe none, of several a video.
    probabilities: of the K classes.
    rank: of the likeliest label among the guesses, from 1; 0: it has no label.
  """

  example: int
  guess: int
  truth: list[int]
  probabilities: np.ndarray
  rank: int


def surest(
  scores: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, most: int
) -> list[Mistake]:
  """Returns the wrong first guesses of the highest probability, in order.

  Equal ones in the order of the examples.

  Args:
    scores: [n, K], which rank as the probabilities do, but do not saturate.
    probabilities: [n, K].
    labels: int [n]; or [n, K], above 0 at each label.
    most: how many.
  """
  guesses = metrics.top_k(scores, 1)[:, 0]
  examples = np.arange(len(guesses))
  if labels.ndim == 2:
    wrong = np.flatnonzero(~(labels[examples, guesses] > 0))
  else:
    wrong = np.flatnonzero(labels != guesses)
  sure = probabilities[wrong, guesses[wrong]]
  found = []
  for example in wrong[np.lexsort((wrong, -sure))][:most]:
    order = metrics.top_k(scores[[example]], scores.shape[1])[0].tolist()
    label = labels[example]
    truth = {int(label)} if labels.ndim == 1 else set(np.flatnonzero(label > 0))
    ranks = [rank for rank, each in enumerate(order) if each in truth]
    found.append(
      Mistake(
        example=int(example),
        guess=order[0],
        truth=[order[rank] for rank in ranks],
        probabilities=probabilities[example],
        rank=ranks[0] + 1 if ranks else 0,
      )
    )
  return found


def sheets(
  found: list[Mistake],
  table: Table,
  head: str,
  source: VideoSplit | None,
) -> str:
  """Returns the mistakes as HTML: frames, predicted and true labels.

  Args:
    found: of `head`, as `surest` returned them.
    table: of the predictions.
    head: its name.
    source: of the frames; None: without frames.
  """
  if not found:
    return '<p>No mistakes.</p>'
  places = (
    {} if source is None else {v: place for place, v in enumerate(source.ids)}
  )
  articles = []
  for mistake in found:
    example = str(table.ids[mistake.example])
    frames = _frames(source, places.get(example))
    articles.append(
      '<article class="card">'
      + _verdict(mistake, list(table.class_names[head]))
      + f'{frames}\n<p class="quiet source">{name(example)}</p></article>'
    )
  return '<div class="sheets">\n' + '\n'.join(articles) + '\n</div>'


def _verdict(mistake: Mistake, names: list[str]) -> str:
  """Returns what the model says of a video, and what is true."""
  rows = [_line('predicted', 'said', '✗', names, mistake, mistake.guess)]
  for place, truth in enumerate(mistake.truth[:5]):
    after = ''
    if not place:
      after = f' <span class="quiet">(guess number {mistake.rank})</span>'
    rows.append(_line('true', 'was', '✓', names, mistake, truth, after))
  if not mistake.truth:
    rows.append('<dt>true</dt><dd>none of the labels</dd><dd></dd>')
  if len(mistake.truth) > 5:
    rows.append(f'<dt></dt><dd>and {len(mistake.truth) - 5} more</dd><dd></dd>')
  return f'<dl class="verdict">{"".join(rows)}</dl>'


def _line(
  words: str,
  style: str,
  sign: str,
  names: list[str],
  mistake: Mistake,
  place: int,
  after: str = '',
) -> str:
  return (
    f'<dt>{words}</dt><dd class="{style}"><span class="name"><span '
    f'aria-hidden="true">{sign}</span> {name(names[place])}{after}</span></dd>'
    f'<dd>{percent(mistake.probabilities[place])}</dd>'
  )


def _frames(source: VideoSplit | None, place: int | None) -> str:
  """Returns frames from all of a video, at equal distances."""
  if source is None or place is None:
    return ''
  available = int(source.frame_counts[place])
  # The middles of equal parts: the first frames of videos are often black.
  middles = (np.arange(_FRAMES) + 0.5) * available / _FRAMES
  numbers = sorted({int(middle) for middle in middles})
  try:
    frames = [frame for _, frame in source.decode_frames(place, numbers)]
  except UnreadableVideo:
    return '<p class="quiet">Its frames cannot be read any more.</p>'
  images = ''.join(_image(frame) for frame in frames)
  rate = float(source.rates[place])
  told = f'{len(numbers)} of {count(available, "frame")}'
  if np.isfinite(rate) and rate > 0:
    told += f', {available / rate:.1f} seconds'
  return (
    f'<div class="frames" role="img" aria-label="{text(told)}" '
    f'title="{text(told)}">{images}</div>'
  )


def _image(frame: np.ndarray) -> str:
  """Returns a frame, uint8 [H, W, 3], as an image within the page."""
  height, width = frame.shape[:2]
  scale = min(1.0, _LONG_SIDE / max(height, width))
  if scale < 1:
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
  pixels = ' class="pixels"' if frame.shape[1] < _SMALL else ''
  # Lossless would be sharper for small ones, but is bounded by nothing.
  quality = 95 if pixels else _QUALITY
  return (
    f'<img{pixels} alt="" width="{frame.shape[1]}" height="{frame.shape[0]}" '
    f'src="{contact_sheets.embedded(frame, quality)}">'
  )


def share_of(heads: Mapping[str, np.ndarray]) -> int:
  """Returns how many mistakes each head may show."""
  return max(SHEETS // len(heads), 1)
