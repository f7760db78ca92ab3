"""The confusion matrix of a head: a table, or an image for many classes."""

import base64
from typing import Any

import cv2
import einops
import numpy as np

_MAX_WRITTEN = 24  # classes; more are shown as an image
_MAX_PAIRS = 60
_SIDE = 800  # approximate side of the image, in pixels
_MAX_CELLS = 20_000  # cells of the image that show their count on hover
_RIGHT, _WRONG = (70, 125, 230), (225, 95, 30)  # visible on white and black
_MIN_OPACITY = 0.45  # in the image, so that a single video is visible


def parts(counts: np.ndarray, names: list[str]) -> dict[str, Any]:
  """Returns a confusion matrix, `metrics.confusion`, for the template.

  Returns:
    'matrix', rows of counts; or for many classes 'map', an image (the other one
    is None); 'pairs', the most confused pairs; and 'pair_count', the number of
    all confused pairs.
  """
  totals = counts.sum(axis=1).tolist()
  written = len(names) <= _MAX_WRITTEN
  matrix = [
    {'name': name, 'counts': row, 'total': total}
    for name, row, total in zip(names, counts.tolist(), totals)
  ]
  wrong = np.count_nonzero(counts) - np.count_nonzero(counts.diagonal())
  return {
    'matrix': matrix if written else None,
    'map': None if written else _map(counts, names),
    'pairs': [
      (names[truth], names[guess], int(counts[truth, guess]), totals[truth])
      for truth, guess in worst_pairs(counts)
    ],
    'pair_count': int(wrong),
  }


def worst_pairs(counts: np.ndarray, limit: int = _MAX_PAIRS) -> np.ndarray:
  """Returns the most confused pairs as (label, prediction), int [m, 2].

  They are sorted by count, then by share of the label's examples, then by
  class index.
  """
  truth, guess = np.nonzero(counts * (1 - np.eye(len(counts), dtype=int)))
  number = counts[truth, guess]
  share = number / counts.sum(axis=1)[truth]
  order = np.lexsort((guess, truth, -share, -number))[:limit]
  return np.stack([truth, guess], axis=1)[order]


def _map(counts: np.ndarray, names: list[str]) -> dict[str, Any]:
  """Returns the image, and the counts that it shows on hover."""
  truth, guess = np.nonzero(counts)
  order = np.lexsort((guess, truth, -counts[truth, guess]))[:_MAX_CELLS]
  truth, guess = truth[order], guess[order]
  cells = np.stack([truth * len(names) + guess, counts[truth, guess]], axis=1)
  png = base64.b64encode(picture(counts)).decode()
  return {
    'names': names,
    'cells': cells.ravel().tolist(),
    'right': counts.trace() / max(counts.sum(), 1),
    'source': f'data:image/png;base64,{png}',
  }


def picture(counts: np.ndarray) -> bytes:
  """Returns the matrix as a PNG that is transparent where counts are 0."""
  totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
  shares = counts / totals
  right = np.eye(len(counts), dtype=bool)
  alpha = np.where(shares > 0, np.maximum(np.sqrt(shares), _MIN_OPACITY), 0)
  colours = np.where(right[..., None], _RIGHT, _WRONG)[..., ::-1]  # to BGR
  pixels = np.concatenate([colours, 255 * alpha[..., None]], axis=-1)
  pixels[alpha == 0] = 0
  larger = max(_SIDE // len(pixels), 1)
  pixels = np.round(pixels).astype(np.uint8)
  pixels = einops.repeat(pixels, 'h w c -> (h i) (w j) c', i=larger, j=larger)
  best = [cv2.IMWRITE_PNG_COMPRESSION, 9]
  return cv2.imencode('.png', pixels, best)[1].tobytes()
