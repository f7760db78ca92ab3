"""Videos whose records hold their very pixels, and parameters to see them."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable

import av
import jax
import numpy as np

from vivit_jax import models
from vivit_jax.config import TrainConfig

NAMES = {
  'noun': ['cup', 'jar', 'pan'],
  'verb': ['fill', 'lift', 'pour', 'stir'],
}


def blocks(seed: int, frames: int, size: tuple[int, int]) -> np.ndarray:
  """Returns random grey blocks of 16 x 16 pixels, uint8 [T, H, W, 3].

  A JPEG of the best quality holds them exactly.
  """
  height, width = size
  grey = np.random.default_rng(seed).integers(
    0, 256, (frames, height // 16, width // 16, 1), np.uint8
  )
  return np.repeat(grey.repeat(16, axis=1).repeat(16, axis=2), 3, axis=3)


def write(
  path: pathlib.Path,
  video: Iterable[np.ndarray],
  rate: int,
  codec: str = 'ffv1',  # without any loss
) -> None:
  """Writes frames, uint8 [H, W, 3], as a video."""
  video = iter(video)
  first = next(video)
  path.parent.mkdir(parents=True, exist_ok=True)
  with av.open(str(path), 'w', format='matroska') as container:
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = 'bgr0' if codec == 'ffv1' else 'yuv420p'
    for image in itertools.chain([first], video):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      container.mux(stream.encode(frame))
    container.mux(stream.encode())


def parameters(config: TrainConfig):
  """Returns random parameters, layers one by one, that heed the pixels."""
  one_by_one = dataclasses.replace(config.model, scan=False)
  model = models.build(one_by_one)
  clip = np.zeros((1, config.data.frames, *config.data.crop, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), clip)['params']
  draw = np.random.default_rng(0)

  def fill(path, x):
    name = jax.tree_util.keystr(path)
    quiet = any(part in name for part in ('cls', 'pos_embedding', 'bias'))
    return draw.normal(0, 0.02 if quiet else 0.6, x.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(fill, shapes)
