"""Explanations of a clip, as a picture and as an animation.

`<name>.png` shows frames of the clip, their heat maps, and the weight over
time. `<name>.gif` shows each frame beside its heat map.
"""

import dataclasses
import io
import os
import pathlib
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import cv2
import einops
import jax
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from vivit_jax import files, fonts
from vivit_jax.errors import UserError
from vivit_jax.inference import gradient, rollout, video_views, videos
from vivit_jax.inference.predictor import Predictor, Ranking
from vivit_jax.models import pixels
from vivit_jax.models.family import ModelConfig

By = Literal['rollout', 'gradient']

# Perceptually uniform: readable in grey and by colour-blind people.
COLOURS = matplotlib.colormaps['inferno']
_HEAT_WEIGHT = 0.62  # opacity of the heat map over the grey frame
_MIN_RANGE = 0.2  # of the colours, so that a uniform map looks uniform
_PIXELS = 224  # smaller frames are enlarged to about this width
_MAX_COLUMNS = 8  # of the picture
_MAX_PAGES = 64  # of the animation
_GIF_RATES = (2.0, 12.5)  # min and max pages per second
_CURVE = 0.75  # height of the time curve, in inches
_LINE = 0.19  # height of a line of the caption, in inches
_LABELS = {
  'rollout': 'where: attention (rollout), 1x where it is uniform',
  'gradient': 'where: for the first labels (gradient), 1x where it is uniform',
}


@dataclasses.dataclass(frozen=True)
class Explanation:
  """A clip, its tokens' weights and its prediction.

  Attributes:
    frames: uint8 [T, H, W, 3], the model's input.
    space: float [t, h, w], weights within each temporal index; 1 is uniform.
    time: float [t], weight of each temporal index; 1 is uniform.
    heads: ranking of each head.
    title: name of the video.
    interval: seconds between frames of the clip; None if unknown.
    by: see `Explainer`.
  """

  frames: np.ndarray
  space: np.ndarray
  time: np.ndarray
  heads: Mapping[str, Ranking]
  title: str
  interval: float | None = None
  by: By = 'rollout'

  @property
  def tubelet(self) -> int:
    """Frames per temporal index; the last index may have fewer."""
    return -(-len(self.frames) // len(self.time))

  @property
  def aspect(self) -> float:
    """Height of a frame divided by its width."""
    return self.frames.shape[1] / self.frames.shape[2]


class Explainer:
  """Explains predictions; compiled at first use.

  Attributes:
    by: the method: `rollout.attention_rollout`, or `gradient.contributions`
      without the negative ones. Default: 'rollout' if the model has it.
    note: why the model has no rollout; None if it has.
  """

  def __init__(self, predictor: Predictor, by: By | None = None):
    """Raises a UserError for another method, or a model without rollout."""
    self._predictor = predictor
    reason = rollout.why_not(predictor.config.model)
    self.by = by or ('gradient' if reason else 'rollout')
    self.note = reason and f'explained by gradient: {reason}.'
    self._weights = _weights(predictor.config.model, self.by)

  def explain(
    self,
    video: videos.Source,
    heads: Mapping[str, Ranking],
    frames_per_second: float | None = None,
  ) -> Explanation:
    """Returns the explanation of the clip of a video's single view.

    Args:
      video: path of a file, or frames, uint8 RGB [T, H, W, 3].
      heads: ranking of each head, for the captions. The gradient is of their
        first classes; without a ranking, of the clip's largest logit.
      frames_per_second: see `Predictor.predict`.

    Raises:
      UserError: the video cannot be read, or is too short.
    """
    predictor = self._predictor
    opened = predictor.open(video, frames_per_second)
    data = predictor.config.data
    views_from = predictor.config.evaluation.views_from
    clip, numbers = video_views.cut_views(opened, data, (1, 1), views_from)
    video = pixels.normalise(clip, *data.pixels)
    classes = {
      head: ranking.every.argmax(keepdims=True)
      for head, ranking in heads.items()
    }
    weights = self._weights(predictor.params, video, numbers, classes)
    space, time = relative(np.asarray(weights[0]))
    return Explanation(
      frames=clip[0],
      space=space,
      time=time,
      heads=heads,
      title=opened.name,
      interval=video_views.seconds_between_frames(opened, data),
      by=self.by,
    )


def _weights(config: ModelConfig, by: str) -> Callable[..., jax.Array]:
  """Returns a function, see `gradient.contributions`; weights [B, t, h, w]."""
  if by == 'rollout':
    flow = rollout.attention_rollout(config)
    return lambda *inputs: flow(*inputs[:3]).attention
  if by == 'gradient':
    contributions = gradient.contributions(config)
    return lambda *inputs: jax.nn.relu(contributions(*inputs))
  raise UserError(
    f"by is '{by}'; it is one of {', '.join(typing.get_args(By))}."
  )


def relative(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns weights [t, h, w] >= 0 relative to uniform ones; zeros stay zeros.

  They are [t, h, w] of mean 1 in each temporal index, and [t] of mean 1.
  """
  time = weights.mean(axis=(1, 2))
  space = weights / np.where(time > 0, time, 1)[:, None, None]
  return space, time / (time.mean() or 1)


def write(
  stem: str | os.PathLike, explanation: Explanation
) -> tuple[pathlib.Path, pathlib.Path]:
  """Writes `<stem>.png` and `<stem>.gif`, each atomically.

  The same explanation gives the same bytes.

  Raises:
    UserError: the files cannot be written.
  """
  stem = pathlib.Path(stem)
  paths = stem.with_name(f'{stem.name}.png'), stem.with_name(f'{stem.name}.gif')
  with fonts.without_warnings():
    with files.writing(paths[0]) as unfinished:
      draw_picture(explanation).savefig(unfinished, format='png')
    with files.writing(paths[1]) as unfinished:
      unfinished.write_bytes(draw_animation(explanation))
  return paths


def draw_picture(explanation: Explanation) -> Figure:
  """Draws frames, heat maps and the time curve.

  With more than 8 temporal indices, each column shows the middle one of
  several. The curve shows all of them.
  """
  tubelet, count = explanation.tubelet, len(explanation.time)
  group = -(-count // _MAX_COLUMNS)  # temporal indices per column
  starts = np.arange(0, count, group)
  middles = np.minimum(starts + group // 2, count - 1)
  width = max(6.0, 1.5 * len(starts))
  height = width / len(starts) * explanation.aspect
  figure, rows = _stacked(
    width, [height, height, _CURVE], 1.5, _caption(explanation, labels=3)
  )
  limits = colour_limits(explanation.space)
  shown = middles * tubelet + tubelet // 2
  last = len(explanation.frames) - 1
  frames = _enlarged(explanation.frames[np.minimum(shown, last)])
  heat_maps = overlay(frames, explanation.space[middles], limits)
  left, right = -0.5, group * len(starts) - 0.5
  for axes, images in zip(rows, (frames, heat_maps)):
    strip = _side_by_side(images)
    axes.imshow(strip, aspect='auto', extent=(left, right, 0, 1))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
  curve = rows[2]
  _draw_curve(curve, explanation)
  times = [_times(explanation, start, group) for start in starts]
  curve.set_xlim(left, right)
  curve.set_xticks(starts + (group - 1) / 2, times)
  curve.set_yticks([0, 1], ['0', '1x'])
  curve.tick_params(labelsize=8, length=0)
  curve.spines[['top', 'right']].set_visible(False)
  for axes, name in zip(rows, ('frame', 'where', 'when')):
    axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=9)
  colours = ScalarMappable(Normalize(*limits), COLOURS)
  bar = figure.colorbar(
    colours, ax=rows, location='bottom', aspect=45, format='{x:g}x'
  )
  bar.ax.tick_params(labelsize=8)
  note = '; times are within the clip' if explanation.interval else ''
  bar.set_label(f'{_LABELS[explanation.by]}{note}', fontsize=9)
  return figure


def draw_animation(explanation: Explanation) -> bytes:
  """Draws each frame beside its heat map, as a GIF in an endless loop.

  With more than 64 frames, it shows only every n-th frame.
  """
  step = -(-len(explanation.frames) // _MAX_PAGES)
  frames = _enlarged(explanation.frames[::step])
  space = np.repeat(explanation.space, explanation.tubelet, axis=0)
  space = space[: len(explanation.frames) : step]
  heat_maps = overlay(frames, space, colour_limits(explanation.space))
  pairs = [_side_by_side(pair) for pair in zip(frames, heat_maps)]
  lines = _caption(explanation, labels=1)
  figure, (top, curve) = _stacked(
    5.4, [2.7 * explanation.aspect, _CURVE], 0.2, lines
  )
  top.set_axis_off()
  curve.set_axis_off()
  image = top.imshow(pairs[0], aspect='auto')
  _draw_curve(curve, explanation)
  curve.set_xlim(-0.5, len(explanation.time) - 0.5)
  cursor = curve.axvline(0, color='black', linewidth=2.5)
  canvas, pages = FigureCanvasAgg(figure), []
  for number, pair in enumerate(pairs):
    image.set_data(pair)
    position = (number * step + 0.5) / explanation.tubelet - 0.5
    cursor.set_xdata([position, position])
    canvas.draw()
    figure.set_layout_engine('none')  # keep the layout of the first page
    page = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    pages.append(page.quantize())
  rate = 1 / (explanation.interval * step) if explanation.interval else 5.0
  content = io.BytesIO()
  pages[0].save(
    content,
    format='GIF',
    save_all=True,
    append_images=pages[1:],
    duration=10 * round(100 / np.clip(rate, *_GIF_RATES)),  # ms, steps of 10 ms
    loop=0,
    optimize=False,
  )
  return content.getvalue()


def colour_limits(space: np.ndarray) -> tuple[float, float]:
  """Returns the values that get the darkest and the brightest colour.

  They are the min and max of `space`, [t, h, w], at least 0.2 apart.
  """
  low, high = float(space.min()), float(space.max())
  margin = max(0.0, _MIN_RANGE - (high - low)) / 2
  return low - margin, high + margin


def overlay(
  frames: np.ndarray, heat: np.ndarray, limits: tuple[float, float]
) -> np.ndarray:
  """Blends grey frames with the colours of their heat maps, [T, h, w].

  Takes and returns uint8 [T, H, W, 3]. `limits` are from `colour_limits`.
  """
  size, result = (frames.shape[2], frames.shape[1]), []
  for frame, values in zip(frames, heat, strict=True):
    smooth = cv2.resize(values.astype(np.float32), size)
    colours = COLOURS(Normalize(*limits, clip=True)(smooth))[..., :3]
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] / 255
    mixed = _HEAT_WEIGHT * colours + (1 - _HEAT_WEIGHT) * grey
    result.append(np.round(mixed * 255).astype(np.uint8))
  return np.stack(result)


def _enlarged(frames: np.ndarray) -> np.ndarray:
  """Enlarges small frames [T, H, W, 3] by repeating their pixels."""
  factor = max(1, round(_PIXELS / frames.shape[2]))
  return einops.repeat(frames, 'T H W C -> T (H i) (W j) C', i=factor, j=factor)


def _side_by_side(images) -> np.ndarray:
  """Joins images [H, W, 3] in a row, with white gaps."""
  gap = ((0, 0), (0, 0), (4, 4), (0, 0))
  images = np.pad(np.stack(images), gap, constant_values=255)
  return einops.rearrange(images, 'n H W C -> H (n W) C')


def _stacked(
  width: float, heights: Sequence[float], margin: float, lines: Sequence[str]
) -> tuple[Figure, np.ndarray]:
  """Returns a figure with a caption, and its axes from top to bottom.

  Sizes are in inches. `margin` is the total height of tick labels and colour
  bar.
  """
  height = sum(heights) + margin + _LINE * len(lines)
  layout = ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.97))
  figure = Figure((width + 0.7, height), dpi=100, layout=layout)
  rows = figure.subplots(len(heights), squeeze=False, height_ratios=heights)
  rows = rows[:, 0]
  for axes, height in zip(rows, heights):
    axes.set_box_aspect(height / width)
  rows[0].set_title(
    '\n'.join(lines),
    loc='left',
    fontsize=9,
    fontfamily=fonts.families(),
    parse_math=False,
  )
  return figure, rows


def _draw_curve(axes: Axes, explanation: Explanation) -> None:
  """Draws the time curve, with a dashed line where it is uniform."""
  time = explanation.time
  edges = np.arange(len(time) + 1) - 0.5
  axes.stairs(time, edges, color='#0b5394', linewidth=2)
  axes.stairs(time, edges, fill=True, color='#0b5394', alpha=0.22)
  axes.axhline(1, color='#333333', linewidth=1, linestyle='--')
  axes.set_ylim(0, 1.15 * max(1.0, float(time.max())))


def _times(explanation: Explanation, start: int, group: int) -> str:
  """Returns a column's tick label: start time and frame numbers."""
  first = start * explanation.tubelet
  end = (start + group) * explanation.tubelet
  end = min(end, len(explanation.frames))
  text = f'frames {first + 1}\u2013{end}' if end > first + 1 else f'frame {end}'
  if explanation.interval is None:
    return text
  return f'{first * explanation.interval:.2f} s\n{text}'


def _caption(explanation: Explanation, labels: int) -> list[str]:
  """Returns lines: the title, and the likeliest labels of each head."""
  lines = [fonts.shortened(explanation.title, 70)]
  for head, ranking in explanation.heads.items():
    first, *others = [
      f'{fonts.shortened(label, 28)} {probability:.1%}'
      for label, probability in zip(
        ranking.labels[:labels], ranking.probabilities
      )
    ]
    lines.append(f'{fonts.shortened(head, 12)}: {first}')
    if others:
      lines.append('    '.join(others))
  return lines
