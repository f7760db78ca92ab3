"""Calibration: whether probabilities match accuracy (arXiv 1706.04599)."""

import dataclasses

import numpy as np

_BINS = 15  # as in Guo et al., table 1


@dataclasses.dataclass(frozen=True)
class Bins:
  """Examples binned by confidence, the probability of the first prediction.

  Bin m of M covers (m / M, (m + 1) / M]; the first bin also contains 0.
  """

  count: np.ndarray  # int [M], number of examples
  confidence: np.ndarray  # float [M], the mean; 0 in an empty bin
  accuracy: np.ndarray  # float [M]; 0 in an empty bin


def bins(
  confidence: np.ndarray,
  right: np.ndarray,
  counts: np.ndarray | None = None,
  number: int = _BINS,
) -> Bins:
  """Sorts examples by confidence into `number` bins of equal width.

  Args:
    confidence: float [n], the probability of the first prediction.
    right: bool [n], whether the first prediction is correct.
    counts: int [n], how often each example counts; None: once.
  """
  counts = np.ones(len(right), int) if counts is None else counts
  index = np.clip(np.ceil(confidence * number).astype(int) - 1, 0, number - 1)
  total, confidence, correct = (
    np.bincount(index, weights, minlength=number)
    for weights in (counts, counts * confidence, counts * right)
  )
  some = np.maximum(total, 1)
  return Bins(total.astype(int), confidence / some, correct / some)


def error(
  confidence: np.ndarray, right: np.ndarray, counts: np.ndarray | None = None
) -> float:
  """Returns the expected calibration error (Guo et al., equation 3).

  This is |accuracy - mean confidence| of a bin, averaged over bins weighted by
  their number of examples. Arguments are those of `bins`.
  """
  binned = bins(confidence, right, counts)
  distance = np.abs(binned.accuracy - binned.confidence)
  return float(np.sum(binned.count * distance) / np.sum(binned.count))
