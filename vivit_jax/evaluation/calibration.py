"""Calibration: whether predicted probabilities match accuracy.

Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599,
section 2.
"""

import dataclasses

import numpy as np

BINS = 15  # of Guo et al., table 1


@dataclasses.dataclass(frozen=True)
class Bins:
  """Examples binned by confidence, the probability of the first prediction.

  Bin m of M holds confidences above m / M up to (m + 1) / M.

  Attributes:
    count: int [M], examples.
    confidence: float [M], mean confidence; 0 in an empty bin.
    accuracy: float [M], share of correct examples; 0 in an empty bin.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray


def bins(
  confidence: np.ndarray,
  right: np.ndarray,
  counts: np.ndarray | None = None,
  number: int = BINS,
) -> Bins:
  """Bins examples by confidence, in bins of equal width.

  Args:
    confidence: float [n], the probability of the first prediction.
    right: bool [n], whether it is correct.
    counts: int [n], how often each example counts; None: once.
    number: of bins, M.
  """
  counts = np.ones(len(right), int) if counts is None else counts
  place = np.clip(np.ceil(confidence * number).astype(int) - 1, 0, number - 1)
  total, confidence, correct = (
    np.bincount(place, weights, minlength=number)
    for weights in (counts, counts * confidence, counts * right)
  )
  some = np.maximum(total, 1)
  return Bins(total.astype(int), confidence / some, correct / some)


def error(
  confidence: np.ndarray, right: np.ndarray, counts: np.ndarray | None = None
) -> float:
  """Returns the expected calibration error (Guo et al., equation 3).

  The mean over examples of the distance between accuracy and confidence of
  their bin. Arguments are those of `bins`.
  """
  binned = bins(confidence, right, counts)
  distance = np.abs(binned.accuracy - binned.confidence)
  return float(np.sum(binned.count * distance) / np.sum(binned.count))
