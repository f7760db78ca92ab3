"""The forward pass of evaluation: from uint8 videos to logits of each view."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import parallel
from vivit_jax.config import DataConfig
from vivit_jax.evaluation import views
from vivit_jax.models import pixels
from vivit_jax.models.classifier import VideoClassifier

# Larger batches of clips do not fit into a CPU's cache ('Views' in
# benchmarks/RESULTS.md). Accelerators prefer large batches.
_MAX_BYTES = 2 * 2**20


def every_view(
  model: VideoClassifier, data: DataConfig
) -> Callable[[Any, Mapping[str, np.ndarray]], dict[str, jax.Array]]:
  """Returns a function (parameters, batch) -> logits, over all local devices.

  Parameters are replicated by `parallel.replicate`. A batch has `video`, uint8
  [b, V, T, H, W, 3], where b is a multiple of the number of local devices (see
  `padded_batch`), and, for a model that reads them, `frame_numbers`, int
  [b, V, T]. Logits are float32 [b, V, K] for each head. All processes must call
  the function equally often.
  """

  def forward(params, video, frame_numbers):
    def apply(clips, frame_BxT):
      clips = pixels.normalise(clips, *data.pixels)
      return model.apply({'params': params}, clips, frame_BxT=frame_BxT)

    limit = max_clips(video.shape[2:])
    return views.of_each_view(apply, video, frame_numbers, limit)

  mapped = parallel.map_over_devices(forward)

  def call(params, batch):
    numbers = batch['frame_numbers'] if model.reads_frame_numbers else None
    inputs = parallel.shard((batch['video'], numbers))
    return parallel.unshard(mapped(params, *inputs))

  return call


def max_clips(clip: tuple[int, ...]) -> int | None:
  """Returns the max batch size for clips of shape (T, H, W, 3), or None."""
  if jax.default_backend() != 'cpu':
    return None
  return max(1, _MAX_BYTES // math.prod(clip))


def padded_batch(batch_size: int) -> int:
  """Rounds a batch size up to a multiple of the number of devices."""
  devices = jax.device_count()
  return -(-batch_size // devices) * devices
