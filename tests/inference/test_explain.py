"""Pictures of where a model looks."""

import dataclasses
import itertools
import warnings

import cv2
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from vivit_jax import fonts
from vivit_jax.errors import UserError
from vivit_jax.inference import captions, explain, heat
from vivit_jax.inference.predictor import Ranking


def ranking(*labels):
  shares = np.array([0.6, 0.3, 0.1])[: len(labels)]
  return Ranking(labels, shares, shares)


HEADS = {'verb': ranking('stir', 'pour', 'cut'), 'noun': ranking('egg', 'pan')}
ODD = {
  'h' * 200: ranking('W' * 400, 'left\nright', '\u202e\x07$\\frac{'),
  'noun$': ranking('$x^2$ & $', '卵を混ぜる' * 30, 'ß' * 250),
  'one': ranking(''),
}


def make(t=4, frames=2, size=(24, 32), **changes):
  draw = np.random.default_rng(0)
  space = draw.uniform(0.2, 3, (t, 3, 4))
  return explain.Explanation(
    **{
      'frames': draw.integers(0, 256, (t * frames, *size, 3), np.uint8),
      'space': space,
      'time': np.linspace(0.5, 1.5, t),
      'heads': HEADS,
      'title': 'a video.mp4',
      'interval': 0.1,
    }
    | changes
  )


def extents(figure):
  """Returns text -> its box in pixels, of all that can be seen."""
  figure.draw_without_rendering()
  found = []
  for text in figure.findobj(Text):
    axes = text.axes
    seen = text.get_visible() and (axes is None or axes.axison)
    if seen and text.get_text().strip():
      box = text.get_window_extent()
      if axes is None or box.width:
        found.append((text.get_text(), box))
  return found


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'heads': ODD, 'title': 'folder/' * 60 + '$.mp4'},
    {'t': 16, 'frames': 2, 'interval': None},
    {'t': 128, 'frames': 4, 'interval': 12.5},
    {'t': 1, 'frames': 32},
    {'t': 5, 'frames': 1, 'size': (60, 20)},
    {
      't': 3,
      'size': (20, 90),
      'heads': {f'h{n}': HEADS['verb'] for n in range(9)},
    },
  ],
)
def test_no_text_is_on_another_or_outside(changes):
  with fonts.without_warnings():
    figure = explain.picture(make(**changes))
    boxes = extents(figure)
  width, height = figure.get_size_inches() * figure.dpi
  assert len(boxes) > 8
  for text, box in boxes:
    assert box.x0 >= 0 and box.x1 <= width, text
    assert box.y0 >= 0 and box.y1 <= height, text
  for (one, a), (other, b) in itertools.combinations(boxes, 2):
    assert not a.padded(-0.5).overlaps(b.padded(-0.5)), (one, other)


@pytest.mark.parametrize('interval', [0.1, None])
def test_a_picture_says_that_its_times_are_of_the_clip(interval):
  told = [text for text, _ in extents(explain.picture(make(interval=interval)))]
  assert any('times are of the clip' in text for text in told) == bool(interval)


def test_the_title_says_each_heads_guesses():
  lines = captions.of_heads('clip.mp4', HEADS, 8.0)
  assert [line.text for line in lines] == [
    'clip.mp4',
    'verb: stir  60.0%',
    'pour 30.0%    cut 10.0%',
    'noun: egg  60.0%',
    'pan 30.0%',
  ]


def test_a_long_name_keeps_its_ends_and_its_probability():
  name = 'begin' + 'x' * 500 + 'end'
  line = captions.of_heads('', {'label': ranking(name)}, 5.0)[1].text
  assert line.startswith('label: begin')
  assert '…' in line and line.endswith('end  60.0%')


def test_a_column_shows_its_own_frame_and_heat():
  """The only bright frame is in the column of its temporal index."""
  explanation = make(t=4, frames=2)
  frames = np.zeros_like(explanation.frames)
  frames[5] = 255  # the later of index 2, which stands for it
  space = np.full((4, 3, 4), 0.5)
  space[1, 2, 3] = 4.0
  figure = explain.picture(
    dataclasses.replace(explanation, frames=frames, space=space)
  )
  shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
  plain, covered = shown[:4], shown[4:]
  assert [int(image.max()) for image in plain] == [0, 0, 255, 0]
  brightest = [int(image.sum(-1).max()) for image in covered]
  assert np.argmax(brightest[:2]) == 1
  at = np.unravel_index(covered[1].sum(-1).argmax(), covered[1].shape[:2])
  assert at[0] > covered[1].shape[0] * 2 / 3
  assert at[1] > covered[1].shape[1] * 3 / 4


def test_the_curve_is_below_its_frames():
  figure = explain.picture(make(t=16))
  pictures = [axes for axes in figure.axes if axes.images]
  curves = [axes for axes in figure.axes if len(axes.get_xticks()) == 4]
  assert len(pictures) == 32 and len(curves) == 4
  for band, curve in enumerate(curves):
    for column in range(4):
      frame = pictures[band * 8 + column].get_position()
      place = curve.transData.transform((band * 4 + column, 0))
      across = figure.transFigure.inverted().transform(place)[0]
      np.testing.assert_allclose(across, (frame.x0 + frame.x1) / 2, atol=2e-3)


def test_an_overlay_is_grey_and_heat_in_their_shares():
  frames = np.full((2, 8, 8, 3), 100, np.uint8)
  levels = np.array([1.0, 3.0])[:, None, None] * np.ones((2, 2, 2))
  found = heat.overlay(frames, levels, (1.0, 3.0))
  for image, level in zip(found, (0.0, 1.0)):
    colour = np.array(heat.COLOURS(level)[:3])
    expected = 0.62 * colour * 255 + 0.38 * 100
    np.testing.assert_allclose(image[4, 4], expected, atol=0.51)


def test_an_even_map_does_not_glow():
  low, high = heat.scale(np.ones((2, 3, 4)) + np.linspace(0, 1e-6, 4))
  assert low == pytest.approx(0.9) and high == pytest.approx(1.1)
  assert heat.scale(np.array([0.5, 2.0])) == (0.5, 2.0)


def test_the_same_explanation_gives_the_same_bytes(tmp_path):
  for name in ('one', 'two'):
    explain.write(tmp_path / name, make())
  for ending in ('png', 'gif'):
    one, two = (tmp_path / f'{n}.{ending}' for n in ('one', 'two'))
    assert one.read_bytes() == two.read_bytes()
  assert len(list(tmp_path.iterdir())) == 4  # nothing half-written


def test_the_animation_has_all_frames_at_their_rate(tmp_path):
  still = np.zeros((6, 24, 32, 3), np.uint8)
  still[3, :, :, 1] = 255
  explanation = make(t=3)
  explanation = dataclasses.replace(explanation, frames=still, interval=0.25)
  _, path = explain.write(tmp_path / 'a.b', explanation)
  assert path.name == 'a.b.gif'
  with Image.open(path) as opened:
    assert opened.n_frames == 6
    green = []
    for number in range(6):
      opened.seek(number)
      assert opened.info['duration'] == 250
      page = np.asarray(opened.convert('RGB')).astype(int)
      green.append(((page[..., 1] > 200) & (page[..., 0] < 60)).sum())
  assert np.flatnonzero(np.array(green) > 10_000).tolist() == [3]


def test_missing_letters_do_not_reach_the_terminal(tmp_path):
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    explain.write(tmp_path / 'odd', make(heads=ODD))
  assert cv2.imread(str(tmp_path / 'odd.png')) is not None


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot write .*/file/look.png and'):
    explain.write(tmp_path / 'file' / 'look', make())
