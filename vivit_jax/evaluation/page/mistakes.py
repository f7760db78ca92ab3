"""The most confident mistakes, with some frames of each video."""

from typing import Any

import cv2
import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.page import clip_sheets
from vivit_jax.evaluation.page.document import count

_FRAMES = 8  # of a video
_LONG_SIDE = 176  # pixels of a frame, at most
_QUALITY = 80  # of JPEGs


def surest(
  scores: np.ndarray,
  probabilities: np.ndarray,
  labels: np.ndarray,
  names: list[str],
  limit: int,
) -> list[dict[str, Any]]:
  """Returns the videos whose first guess is wrong, the most probable first.

  Equal ones are in the order of the examples.

  Args:
    scores: float [n, K]; they rank as the probabilities do, without rounding
      to equal values.
    probabilities: float [n, K].
    labels: int [n]; or float [n, K], above 0 at each label.
    names: K names of the classes.
    limit: the largest number of videos.

  Returns:
    'row' of the video, its first 'guess' and its labels ('truth', the likeliest
    first), each with 'name' and 'probability'; and the 'rank' of the likeliest
    label among the guesses, from 1, or 0 without labels.
  """
  guesses = metrics.top_k(scores, 1)[:, 0]
  if labels.ndim == 1:
    right = labels == guesses
  else:
    right = labels[np.arange(len(guesses)), guesses] > 0
  wrong = np.flatnonzero(~right)
  confidence = probabilities[wrong, guesses[wrong]]
  found = []
  for row in wrong[np.lexsort((wrong, -confidence))][:limit]:
    order = metrics.top_k(scores[[row]], scores.shape[1])[0].tolist()
    label = labels[row]
    truth = {int(label)} if labels.ndim == 1 else set(np.flatnonzero(label > 0))
    ranks = [rank for rank, k in enumerate(order) if k in truth]
    guess, *true = (
      {'name': names[k], 'probability': float(probabilities[row, k])}
      for k in (order[0], *(order[rank] for rank in ranks))
    )
    found.append(
      {
        'row': int(row),
        'guess': guess,
        'truth': true,
        'rank': ranks[0] + 1 if ranks else 0,
      }
    )
  return found


def frames(source: VideoSplit | None, example: str) -> dict[str, Any]:
  """Returns evenly spaced 'frames' of a video, and which they are ('about').

  Args:
    source: the videos; None: without frames.
    example: id of the video.
  """
  ids = [] if source is None else list(source.ids)
  if example not in ids:
    return {'frames': [], 'about': ''}
  place = ids.index(example)
  available = int(source.frame_counts[place])
  # The middles of equal parts: the first frames of videos are often black.
  middles = (np.arange(_FRAMES) + 0.5) * available / _FRAMES
  numbers = sorted({int(middle) for middle in middles})
  try:
    decoded = [frame for _, frame in source.decode_frames(place, numbers)]
  except UnreadableVideo:
    return {'frames': [], 'about': 'This video can no longer be read.'}
  about = f'{len(numbers)} of {count(available, "frame")}'
  rate = float(source.frame_rates[place])
  if np.isfinite(rate) and rate > 0:
    about += f', {available / rate:.1f} seconds'
  images = [clip_sheets.image(_shrunk(x), _QUALITY) for x in decoded]
  return {'frames': images, 'about': about}


def _shrunk(frame: np.ndarray) -> np.ndarray:
  """Returns a frame, uint8 [H, W, 3], of at most `_LONG_SIDE`."""
  height, width = frame.shape[:2]
  scale = min(1.0, _LONG_SIDE / max(height, width))
  size = max(round(width * scale), 1), max(round(height * scale), 1)
  return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
