"""Frames of a clip beside their heat maps, moving."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from PIL import Image

from vivit_jax.inference import captions, drawing, heat

_MOST = 64  # frames in an animation
_WIDTH = 5.6  # inches; 100 pixels each
_EDGE = 0.1  # inches
_RATES = (2.0, 12.5)  # frames a second, least and greatest


def animation(explanation: drawing.Explanation) -> bytes:
  """Returns frames beside their heat maps, as a GIF that repeats.

  Of more than 64 frames, every second, third, ... one.
  """
  tubelet = explanation.tubelet
  step = -(-len(explanation.frames) // _MOST)
  frames = heat.enlarged(explanation.frames[::step], drawing.PIXELS)
  of_frame = np.repeat(explanation.space, tubelet, axis=0)[::step]
  covered = heat.overlay(frames, of_frame, heat.scale(explanation.space))
  figure, images, now = _first_page(explanation, frames[0], covered[0])
  canvas = FigureCanvasAgg(figure)
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


def _first_page(
  explanation: drawing.Explanation, *pair: np.ndarray
) -> tuple[Figure, list[AxesImage], Line2D]:
  """Returns a page, its two images and the line that says when it is."""
  across = _WIDTH - 2 * _EDGE
  side = (across - _EDGE) / 2
  height = side * explanation.aspect
  lines = captions.of_heads(
    explanation.title, explanation.heads, across, guesses=1
  )
  head = captions.height(lines)
  below = head + height + _EDGE
  figure = Figure(figsize=(_WIDTH, below + drawing.CURVE + _EDGE), dpi=100)
  captions.draw(figure, lines, left=_EDGE)
  images = []
  for left, image in zip((_EDGE, 2 * _EDGE + side), pair):
    axes = drawing.axes(figure, left, head, side, height)
    axes.set_axis_off()
    images.append(
      axes.imshow(image, aspect='auto', interpolation='antialiased')
    )
  curve = drawing.axes(figure, _EDGE, below, across, drawing.CURVE)
  drawing.draw_curve(curve, explanation)
  curve.set_xlim(-0.5, len(explanation.time) - 0.5)
  curve.set_axis_off()
  return figure, images, curve.axvline(0, color='black', linewidth=2.5)


def _milliseconds(interval: float | None, step: int) -> int:
  """Returns how long a frame is shown; whole hundredths, as a GIF has them."""
  slowest, fastest = _RATES
  rate = 5.0 if not interval else 1 / (interval * step)
  rate = min(max(rate, slowest), fastest)
  return 10 * round(100 / rate)
