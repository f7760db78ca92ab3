"""The forward pass of evaluation: from uint8 videos to logits of each view."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vivit_jax import parallel
from vivit_jax.config import DataConfig
from vivit_jax.evaluation import views
from vivit_jax.models import pixels

# Larger batches of clips do not fit into a CPU's cache ('Views' in
# benchmarks/RESULTS.md). Accelerators prefer large batches.
_MAX_BYTES = 2 * 2**20


def every_view(
  model: nn.Module, data: DataConfig
) -> Callable[[Any, np.ndarray], dict[str, jax.Array]]:
  """Returns a function (parameters, videos) -> logits, over all local devices.

  Parameters are replicated by `parallel.replicate`. Videos are uint8
  [b, V, T, H, W, 3], where b is a multiple of the number of local devices (see
  `padded_batch`). Logits are float32 [b, V, K] for each head. All processes
  must call the function equally often.
  """

  def forward(params, video):
    def apply(clips):
      clips = pixels.normalise(clips, data.mean, data.std)
      return model.apply({'params': params}, clips, train=False)

    return views.of_each_view(apply, video, max_clips(video.shape[2:]))

  mapped = parallel.map_over_devices(forward)

  def call(params, video):
    return parallel.unshard(mapped(params, parallel.shard(video)))

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
