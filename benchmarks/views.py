"""What evaluation with 4 x 3 views costs a device, against 12 times one view.

  python -m benchmarks.views
  python -m benchmarks.views --size=B --frames=32 --crop=224 --videos=1

The views of a video are one batch for the device. Measured is the evaluator's
own function (`evaluation.forward.every_view`), given the same videos with one
view each, the baseline, and with all of them, by turns; from the uint8 views to
logits that are computed, no decoding.
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from benchmarks.flags import at_least
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.commands import end_at_once
from vivit_jax.config import TrainConfig
from vivit_jax.errors import exit_on_user_error
from vivit_jax.evaluation import forward

GOAL = 1.05
VIEWS = (1, 4 * 3)  # of a video: the baseline, and 4 in time x 3 in space


def experiment_config(
  size: str, layers: int | None, frames: int, crop: int
) -> TrainConfig:
  """Returns the experiment of a factorised encoder of 400 classes."""
  config = configs.default()
  config.model.size = size
  config.model.options.spatial_layers = layers
  config.model.heads = {'label': 400}
  config.data.frames, config.data.crop = frames, (crop, crop)
  config.data.short_side = crop
  return configs.resolve(config)


def evaluator(config: TrainConfig) -> Callable[[np.ndarray], None]:
  """Returns what computes the logits of videos, and waits for them.

  Videos are uint8 [b, V, T, H, W, 3]; parameters are random.
  """
  model = models.build(config.model)
  clip = np.zeros((1, config.data.frames, *config.data.crop, 3), np.float32)
  params = jax.jit(model.init)(jax.random.key(0), clip)['params']
  params = parallel.replicate(params)
  apply = forward.every_view(model, config.data)

  def call(videos):
    jax.block_until_ready(apply(params, videos))

  return call


def measure(
  call: Callable[[np.ndarray], None],
  config: TrainConfig,
  videos: int,
  rounds: int,
) -> dict[int, list[float]]:
  """Returns seconds of each round, by the views of a video.

  One view takes less time than many: in a round, it has as many calls before
  and after them as there are views, of which the mean counts.
  """
  draw = np.random.default_rng(0)
  batches = {
    views: draw.integers(
      0,
      256,
      (videos, views, config.data.frames, *config.data.crop, 3),
      np.uint8,
    )
    for views in VIEWS
  }
  one, many = VIEWS
  for batch in batches.values():
    call(batch)  # compiles
  found = {views: [] for views in VIEWS}
  for _ in range(rounds):
    half = many // 2
    before = _seconds(call, batches[one], half)
    found[many].append(_seconds(call, batches[many], 1))
    after = _seconds(call, batches[one], half)
    found[one].append((before + after) / 2)
  return found


def _seconds(call: Callable, batch: np.ndarray, times: int) -> float:
  """Returns the mean time of some calls."""
  begin = time.perf_counter()
  for _ in range(times):
    call(batch)
  return (time.perf_counter() - begin) / times


def ratios(found: Mapping[int, Sequence[float]]) -> list[float]:
  """Returns of each round the time of all views over that many times one's."""
  one, many = VIEWS
  return [
    together / (many * alone)
    for together, alone in zip(found[many], found[one])
  ]


def table(found: Mapping[int, Sequence[float]]) -> Iterator[str]:
  """Yields lines of Markdown: medians, and the ratio with its spread."""
  one, many = VIEWS
  yield f'| | 1 x 1 view, ms | 4 x 3 views, ms | to {many} x one (rounds) | |'
  yield '|---' * 5 + '|'
  each = ratios(found)
  median = statistics.median(each)
  cells = [
    'a batch of videos',
    *(f'{1e3 * statistics.median(found[views]):.1f}' for views in VIEWS),
    f'{median:.3f} ({min(each):.3f} to {max(each):.3f})',
    f'goal <= {GOAL}: {"reached" if median <= GOAL else "missed"}',
  ]
  yield f'| {" | ".join(cells)} |'


def main() -> int:
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.views',
    description='Compares 4 x 3 views of videos with 12 times one view.',
  )
  add = parser.add_argument
  add('--size', default='S', help='of the model (S)')
  add(
    '--layers',
    type=at_least(1),
    help='of the spatial encoder (its size has 12)',
  )
  add('--frames', type=at_least(1), default=16, help='of a clip (16)')
  add(
    '--crop', type=at_least(1), default=112, help='its sides, in pixels (112)'
  )
  add('--videos', type=at_least(1), default=2, help='of a batch (2)')
  add('--rounds', type=at_least(1), default=7, help='of all measurements (7)')
  flags = parser.parse_args()
  config = experiment_config(flags.size, flags.layers, flags.frames, flags.crop)
  found = measure(evaluator(config), config, flags.videos, flags.rounds)
  print(
    f'ViViT-{flags.size}, {flags.videos} videos a batch, clips of '
    f'{flags.frames} x {flags.crop} x {flags.crop}, on {jax.device_count()} x '
    f'{jax.devices()[0].device_kind}\n'
  )
  print('\n'.join(table(found)))
  return 0


if __name__ == '__main__':
  signal.signal(signal.SIGINT, end_at_once)
  with exit_on_user_error():
    sys.exit(main())
