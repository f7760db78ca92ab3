"""The forward pass of evaluation: uint8 views in, logits of each view out."""

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

# On a CPU, clips of more bytes than these, computed at once, leave its cache
# ('Views' in benchmarks/RESULTS.md). Accelerators are the faster, the more
# there is to compute.
_BYTES = 2 * 2**20


def every_view(
  model: nn.Module, data: DataConfig
) -> Callable[[Any, np.ndarray], dict[str, jax.Array]]:
  """Returns (parameters, videos) -> logits, over all local devices.

  Parameters are replicated (`parallel.replicate`); videos are uint8
  [b, V, T, H, W, 3], b a multiple of the local devices (a process's share of
  `padded_batch`), of which every process must give as many batches;
  logits float32 [b, V, K] of each head.
  """

  def forward(params, video):
    def apply(clips):
      clips = pixels.normalise(clips, data.mean, data.std)
      return model.apply({'params': params}, clips, train=False)

    return views.of_each_view(apply, video, _at_once(video.shape[2:]))

  mapped = parallel.map_over_devices(forward)

  def call(params, video):
    return parallel.unshard(mapped(params, parallel.shard(video)))

  return call


def _at_once(clip: tuple[int, ...]) -> int | None:
  """Returns how many clips of a shape to compute at once; None for all."""
  if jax.default_backend() != 'cpu':
    return None
  return max(1, _BYTES // math.prod(clip))


def padded_batch(batch_size: int) -> int:
  """Returns the batch size, rounded up to a multiple of all devices."""
  devices = jax.device_count()
  return -(-batch_size // devices) * devices
