"""Where a model looks in a clip, as a picture and as a short animation.

`<name>.png`: frames of the clip, the same under the heat map of where the model
looks within each, and the time curve below them, what share each moment has.
`<name>.gif`: all frames beside their heat maps, with the curve running along.
"""

import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from vivit_jax.errors import UserError
from vivit_jax.inference import captions, cutting, heat, videos
from vivit_jax.inference.predictor import Predictor, Ranking
from vivit_jax.inference.rollout import attention_rollout
from vivit_jax.models import pixels

_COLUMNS = 4  # frames in a row
_MOST = 16  # frames in a picture
_MOST_MOVING = 64  # frames in an animation
_PIXELS = 224  # of a frame's width, at least
_WIDTH = 8.0  # inches of a picture; 100 pixels each
_LEFT, _RIGHT = 0.75, 0.2  # inches beside the frames
_GAP = 0.06  # inches between frames
_CURVE = 0.75  # inches of a time curve's height
_LABELS = 0.5  # inches of the labels below it
_BAR = 0.75  # inches of the colour bar and its labels
_RATES = (2.0, 12.5)  # least and greatest, of an animation, frames a second
_DARK = '#333333'
_LINE = '#0b5394'  # of the curve


@dataclasses.dataclass(frozen=True)
class Explanation:
  """What there is to draw of a clip.

  Attributes:
    frames: uint8 [T, H, W, 3], as the model sees them.
    space: float [t, h, w], where it looks within each temporal index, in
      multiples of an even share.
    time: float [t], what share each temporal index has, likewise.
    heads: the ranking of each head.
    title: above all, the video's name for one.
    interval: seconds from a frame to the next, or None.
  """

  frames: np.ndarray
  space: np.ndarray
  time: np.ndarray
  heads: Mapping[str, Ranking]
  title: str
  interval: float | None = None

  @property
  def tubelet(self) -> int:
    """Frames of a temporal index."""
    return len(self.frames) // len(self.time)


class Explainer:
  """Finds out where a predictor's model looks; compiled at the first clip."""

  def __init__(self, predictor: Predictor):
    self._predictor = predictor
    self._rollout = attention_rollout(predictor.model)

  def of_video(
    self, video: videos.Source, heads: Mapping[str, Ranking]
  ) -> Explanation:
    """Returns what there is to draw of a video's middle clip.

    Args:
      video: path of a file, or frames, uint8 RGB [T, H, W, 3].
      heads: of its prediction.

    Raises:
      UserError: a video that cannot be read, or is too short.
    """
    data, opened = self._predictor.config.data, videos.open_video(video)
    clip = cutting.cut(opened, data, cutting.Views(1, 1))[0]
    interval = None
    if opened.rate:
      interval = cutting.stride_of(opened, data) / opened.rate
    return self.of_clip(clip, heads, opened.name, interval)

  def of_clip(
    self,
    clip: np.ndarray,
    heads: Mapping[str, Ranking],
    title: str,
    interval: float | None = None,
  ) -> Explanation:
    """Returns what there is to draw of a clip.

    Args:
      clip: uint8 [T, H, W, 3], a view of `Predictor.clips`.
      heads: of its prediction.
      title, interval: as of `Explanation`.
    """
    data = self._predictor.config.data
    found = self._rollout(
      self._predictor.params, pixels.normalise(clip[None], data.mean, data.std)
    )
    space, time = np.asarray(found.space[0]), np.asarray(found.time[0])
    return Explanation(
      frames=clip,
      space=space * space[0].size,
      time=time * time.size,
      heads=heads,
      title=title,
      interval=interval,
    )


def write(
  stem: str | os.PathLike, explanation: Explanation
) -> tuple[pathlib.Path, pathlib.Path]:
  """Writes `<stem>.png` and `<stem>.gif`, each whole or not at all.

  The same explanation always gives the same bytes.

  Raises:
    UserError: a place that cannot be written to.
  """
  stem = pathlib.Path(stem)
  paths = stem.with_name(f'{stem.name}.png'), stem.with_name(f'{stem.name}.gif')
  with captions.without_warnings():
    png = io.BytesIO()
    picture(explanation).savefig(png, format='png')
    contents = png.getvalue(), animation(explanation)
  try:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, contents):
      _write_whole(path, content)
  except OSError as error:
    raise UserError(
      f'cannot write {stem}.png and .gif: {error.strerror or error}.'
    ) from None
  return paths


def _write_whole(path: pathlib.Path, content: bytes) -> None:
  unfinished = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


def picture(explanation: Explanation) -> Figure:
  """Draws frames, their heat maps and the time curve.

  Of more than 16 temporal indices, some stand for their neighbours; the curve
  has them all.
  """
  group = -(-len(explanation.time) // _MOST)  # temporal indices of a column
  shown = np.arange(0, len(explanation.time), group)
  columns = min(_COLUMNS, len(shown))
  bands = -(-len(shown) // columns)
  side = (_WIDTH - _LEFT - _RIGHT) / max(columns, 2) - _GAP
  lines = captions.of_heads(explanation.title, explanation.heads, _WIDTH - 0.4)
  sheet = _Sheet(explanation, side, side * _aspect(explanation.frames))
  band = 2 * (sheet.height + _GAP) + _CURVE + _LABELS
  head = captions.height(lines)
  whole = head + bands * band + _BAR
  figure = Figure(figsize=(_WIDTH, whole), dpi=100)
  captions.draw(figure, lines, left=0.2)
  for number in range(bands):
    indices = shown[number * columns : (number + 1) * columns]
    sheet.band(figure, indices, group, head + number * band)
  sheet.colour_bar(figure)
  return figure


def animation(explanation: Explanation) -> bytes:
  """Returns frames beside their heat maps, as a GIF that repeats.

  Of more than 64 frames, every second, third, ... one.
  """
  tubelet = explanation.tubelet
  step = -(-len(explanation.frames) // _MOST_MOVING)
  frames = heat.enlarged(explanation.frames[::step], _PIXELS)
  of_frame = np.repeat(explanation.space, tubelet, axis=0)[::step]
  covered = heat.overlay(frames, of_frame, heat.scale(explanation.space))
  width = 5.6
  side = (width - 0.3) / 2
  height = side * _aspect(frames)
  lines = captions.of_heads(
    explanation.title, explanation.heads, width - 0.2, guesses=1
  )
  head = captions.height(lines)
  whole = head + height + 0.15 + _CURVE + 0.1
  figure = Figure(figsize=(width, whole), dpi=100)
  captions.draw(figure, lines, left=0.1)
  canvas = FigureCanvasAgg(figure)
  places = (0.1, 0.2 + side)
  images = []
  for left, one in zip(places, (frames[0], covered[0])):
    axes = _axes(figure, left, head, side, height)
    axes.set_axis_off()
    images.append(axes.imshow(one, aspect='auto', interpolation='antialiased'))
  curve = _axes(figure, 0.1, head + height + 0.15, width - 0.2, _CURVE)
  _draw_curve(curve, explanation)
  curve.set_xlim(-0.5, len(explanation.time) - 0.5)
  curve.set_axis_off()
  now = curve.axvline(0, color='black', linewidth=2.5)
  pages = []
  for number, pair in enumerate(zip(frames, covered)):
    for image, one in zip(images, pair):
      image.set_data(one)
    now.set_xdata([(number * step + 0.5) / tubelet - 0.5] * 2)
    canvas.draw()
    page = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    pages.append(page.quantize(256, method=Image.Quantize.MEDIANCUT))
  content = io.BytesIO()
  pages[0].save(
    content,
    format='GIF',
    save_all=True,
    append_images=pages[1:],
    duration=_milliseconds(explanation.interval, step),
    loop=0,
    optimize=False,
  )
  return content.getvalue()


def _milliseconds(interval: float | None, step: int) -> int:
  """Returns how long a frame is shown; whole hundredths, as a GIF has them."""
  slowest, fastest = _RATES
  rate = 5.0 if not interval else 1 / (interval * step)
  rate = min(max(rate, slowest), fastest)
  return 10 * round(100 / rate)


def _aspect(frames: np.ndarray) -> float:
  return frames.shape[1] / frames.shape[2]


def _axes(
  figure: Figure, left: float, top: float, width: float, height: float
) -> Axes:
  """Returns axes by inches from the figure's left and top edge."""
  wide, high = figure.get_size_inches()
  bottom = high - top - height
  return figure.add_axes(
    (left / wide, bottom / high, width / wide, height / high)
  )


def _draw_curve(axes: Axes, explanation: Explanation) -> None:
  """Draws the time curve, an even share being the dashed line at 1."""
  places, time = np.arange(len(explanation.time)), explanation.time
  # Each temporal index as wide as its frames are.
  edges = np.concatenate([places - 0.5, [places[-1] + 0.5]])
  axes.stairs(time, edges, color=_LINE, linewidth=2)
  axes.stairs(time, edges, fill=True, color=_LINE, alpha=0.22)
  axes.axhline(1, color=_DARK, linewidth=1, linestyle=(0, (4, 3)))
  axes.set_ylim(0, 1.15 * max(1.0, float(time.max())))


class _Sheet:
  """Draws bands of frames, heat maps and curve into a figure.

  `width` and `height` are of a frame, in inches.
  """

  def __init__(self, explanation: Explanation, width: float, height: float):
    self._of = explanation
    self._limits = heat.scale(explanation.space)
    self.width, self.height = width, height

  def band(
    self, figure: Figure, indices: np.ndarray, group: int, top: float
  ) -> None:
    """Draws one band.

    Args:
      figure: to draw into.
      indices: temporal indices, the first one of each column.
      group: temporal indices of a column; the middle one is shown.
      top: inches from the figure's upper edge.
    """
    middles = np.minimum(indices + group // 2, len(self._of.time) - 1)
    numbers = middles * self._of.tubelet + self._of.tubelet // 2
    frames = heat.enlarged(self._of.frames[numbers], _PIXELS)
    covered = heat.overlay(frames, self._of.space[middles], self._limits)
    across, down = self.width + _GAP, self.height + _GAP
    for row, (name, images) in enumerate(
      (('frame', frames), ('where', covered))
    ):
      for column, image in enumerate(images):
        axes = _axes(
          figure,
          _LEFT + column * across,
          top + row * down,
          self.width,
          self.height,
        )
        _without_ticks(axes)
        axes.imshow(image, aspect='auto', interpolation='antialiased')
        if not column:
          _name(axes, name)
    width = len(indices) * across - _GAP
    axes = _axes(figure, _LEFT, top + 2 * down, width, _CURVE)
    self._time_curve(axes, indices, group)

  def _time_curve(self, axes: Axes, indices: np.ndarray, group: int) -> None:
    """Draws the curve of a band, each index below its own frame."""
    _draw_curve(axes, self._of)
    # The gaps between frames are shared out to both sides.
    gap = group * _GAP / (self.width + _GAP) / 2
    first, last = indices[0] - 0.5, indices[-1] + group - 0.5
    axes.set_xlim(first + gap, last - gap)
    names = [self._moment(index, group) for index in indices]
    axes.set_xticks(indices + (group - 1) / 2, names, fontsize=9)
    axes.tick_params(length=0)
    axes.set_yticks([0, 1], ['0', '1x'], fontsize=9)
    _name(axes, 'when')
    axes.spines[['top', 'right']].set_visible(False)

  def _moment(self, index: int, group: int) -> str:
    """Returns when the frames of a column are, and which they are."""
    end = min(index + group, len(self._of.time)) * self._of.tubelet
    start = index * self._of.tubelet
    words = f'frames {start + 1}\u2013{end}'
    if end == start + 1:
      words = f'frame {end}'
    if self._of.interval is None:
      return words
    return f'{start * self._of.interval:.2f} s\n{words}'

  def colour_bar(self, figure: Figure) -> None:
    """Draws what the colours mean at the figure's lower edge."""
    wide, high = figure.get_size_inches()
    axes = _axes(figure, _LEFT, high - _BAR + 0.1, wide - _LEFT - _RIGHT, 0.14)
    colours = ScalarMappable(Normalize(*self._limits), heat.COLOURS)
    bar = figure.colorbar(colours, cax=axes, orientation='horizontal')
    bar.set_ticks(np.linspace(*self._limits, 5))
    bar.ax.tick_params(labelsize=9)
    bar.ax.xaxis.set_major_formatter('{x:.2g}x')
    bar.set_label(
      'where: attention (rollout) beside an even share of the frame',
      fontsize=10,
    )


def _name(axes: Axes, name: str) -> None:
  axes.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=10)


def _without_ticks(axes: Axes) -> None:
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_visible(False)
