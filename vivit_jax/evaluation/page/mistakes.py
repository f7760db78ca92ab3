"""Finds the most confident mistakes, and shows frames of their videos."""

from typing import Any

import cv2
import numpy as np

from vivit_jax.data.datasets import VideoSplit
from vivit_jax.data.decode import UnreadableVideo
from vivit_jax.evaluation import metrics
from vivit_jax.evaluation.page import clip_sheets
from vivit_jax.evaluation.page.document import count

_FRAMES = 8  # per video
_LONG_SIDE = 176  # max, in pixels
_QUALITY = 80  # of JPEGs


def surest(
  scores: np.ndarray,
  probabilities: np.ndarray,
  labels: np.ndarray,
  names: list[str],
  limit: int,
) -> list[dict[str, Any]]:
  """Returns the videos whose first guess is wrong, the most probable first.

  Classes are ranked by `scores` [n, K], because `probabilities` [n, K] can
  round to equal values. Labels are int [n]; or float [n, K], above 0 at each
  label.

  Returns:
    For each video: its 'row'; 'guess', the first guess, and 'truth', the labels
    from most to least likely, each with 'name' and 'probability'; and 'rank' of
    the likeliest label among the guesses, from 1, or 0 without labels.
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
  """Returns evenly spaced 'frames' of a video, and their description 'about'.

  Without the split `source`, or if it lacks the example, there are no frames.
  """
  ids = [] if source is None else list(source.ids)
  if example not in ids:
    return {'frames': [], 'about': ''}
  index = ids.index(example)
  available = int(source.frame_counts[index])
  # The middles of equal parts, because the first frame is often black.
  middles = (np.arange(_FRAMES) + 0.5) * available / _FRAMES
  numbers = sorted({int(middle) for middle in middles})
  try:
    decoded = [frame for _, frame in source.decode_frames(index, numbers)]
  except UnreadableVideo:
    return {'frames': [], 'about': 'This video can no longer be read.'}
  about = f'{len(numbers)} of {count(available, "frame")}'
  rate = float(source.frame_rates[index])
  if np.isfinite(rate) and rate > 0:
    about += f', {available / rate:.1f} seconds'
  images = [clip_sheets.image(_shrunk(x), _QUALITY) for x in decoded]
  return {'frames': images, 'about': about}


def _shrunk(frame: np.ndarray) -> np.ndarray:
  """Shrinks a frame, uint8 [H, W, 3], so that no side exceeds `_LONG_SIDE`."""
  height, width = frame.shape[:2]
  scale = min(1.0, _LONG_SIDE / max(height, width))
  size = max(round(width * scale), 1), max(round(height * scale), 1)
  return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
