"""Whether a model is right as often as it says.

Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599,
section 2.
"""

import dataclasses

import numpy as np

BINS = 15  # of Guo et al., table 1


@dataclasses.dataclass(frozen=True)
class Bins:
  """Examples by the probability of their first guess.

  Bin m of M holds those from above m / M up to (m + 1) / M.

  Attributes:
    count: int [M], examples.
    confidence: float [M], the mean probability of their first guess; 0 in a
      bin without examples.
    accuracy: float [M], the share of them that is right; likewise.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  def error(self) -> float:
    """Returns the expected calibration error (Guo et al., equation 3).

    The mean over all examples of the distance between accuracy and confidence
    of their bin.
    """
    distance = np.abs(self.accuracy - self.confidence)
    return float(np.sum(self.count * distance) / np.sum(self.count))


def bins(
  probabilities: np.ndarray, labels: np.ndarray, count: int = BINS
) -> Bins:
  """Sorts examples into bins of equal width.

  Args:
    probabilities: [n, K], n at least 1; rows sum to 1.
    labels: int [n].
    count: M, of the bins.
  """
  confidence = probabilities.max(axis=1)
  right = probabilities.argmax(axis=1) == labels
  place = np.clip(np.ceil(confidence * count).astype(int) - 1, 0, count - 1)
  counts = np.bincount(place, minlength=count)
  some = np.maximum(counts, 1)
  return Bins(
    counts,
    np.bincount(place, confidence, minlength=count) / some,
    np.bincount(place, right, minlength=count) / some,
  )
