"""Pictures and animations of the attention."""

import dataclasses
import io
import itertools
import json
import warnings

import numpy as np
import pytest
from made import blocks, write
from matplotlib.text import Text
from PIL import Image

import vivit_jax
from vivit_jax import fonts
from vivit_jax.errors import UserError
from vivit_jax.inference import command, explain, gradient
from vivit_jax.inference.predictor import Ranking
from vivit_jax.inference.rollout import attention_rollout


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


@pytest.mark.parametrize(
  'changes',
  [
    {'heads': ODD, 'title': 'folder/' * 60 + '$.mp4'},
    {'t': 128, 'frames': 4, 'interval': 12.5, 'by': 'gradient'},
    {'t': 5, 'frames': 1, 'size': (60, 20), 'interval': None},
  ],
)
def test_texts_do_not_overlap(changes):
  with fonts.without_warnings():
    figure = explain.draw_picture(make(**changes))
    figure.draw_without_rendering()
  boxes = [
    (text.get_text(), text.get_window_extent())
    for text in figure.findobj(Text)
    if text.get_visible()
    and text.get_text().strip()
    and text not in figure.axes[-1].get_xticklabels()  # some are not drawn
  ]
  height = figure.get_size_inches()[1] * figure.dpi
  assert len(boxes) > 8
  for text, box in boxes:
    assert box.x0 >= 0 and box.y0 >= 0 and box.y1 <= height, text
  for (one, a), (other, b) in itertools.combinations(boxes, 2):
    assert not a.padded(-0.5).overlaps(b.padded(-0.5)), (one, other)


def test_the_caption_has_each_heads_labels():
  figure = explain.draw_picture(make())
  assert figure.axes[0].get_title('left').splitlines() == [
    'a video.mp4',
    'verb: stir 60.0%',
    'pour 30.0%    cut 10.0%',
    'noun: egg 60.0%',
    'pan 30.0%',
  ]


def test_a_long_name_keeps_its_ends():
  text = fonts.shortened('begin' + 'x' * 500 + 'end', 40)
  assert text.startswith('begin') and text.endswith('end') and len(text) == 40
  assert fonts.shortened('left\nright', 40) == 'left right'


def test_a_column_shows_its_own_frame_and_heat_map():
  """8 columns of 2 temporal indices: each shows the second one."""
  explanation = make(t=16, frames=2)
  frames = np.zeros_like(explanation.frames)
  frames[23] = 255  # the later frame of index 11, which is drawn
  space = np.full((16, 3, 4), 0.5)
  space[9, 2, 3] = 4.0
  figure = explain.draw_picture(
    dataclasses.replace(explanation, frames=frames, space=space)
  )
  assert all(axes.get_xlim() == (-0.5, 15.5) for axes in figure.axes[:3])
  strips = [
    np.split(np.asarray(axes.images[0].get_array()), 8, axis=1)
    for axes in figure.axes[:2]
  ]
  # The white gaps beside the frames are 4 pixels wide.
  plain = [int(x[:, 4:-4].max()) for x in strips[0]]
  assert np.flatnonzero(plain).tolist() == [5]
  heat_map = strips[1][4][:, 4:-4].sum(-1)
  row, column = np.unravel_index(heat_map.argmax(), heat_map.shape)
  assert row > heat_map.shape[0] * 2 / 3
  assert column > heat_map.shape[1] * 3 / 4


def test_an_overlay_is_a_weighted_mean():
  frames = np.full((2, 8, 8, 3), 100, np.uint8)
  levels = np.array([1.0, 3.0])[:, None, None] * np.ones((2, 2, 2))
  result = explain.overlay(frames, levels, (1.0, 3.0))
  for image, level in zip(result, (0.0, 1.0)):
    colour = np.array(explain.COLOURS(level)[:3])
    expected = 0.62 * colour * 255 + 0.38 * 100
    np.testing.assert_allclose(image[4, 4], expected, atol=0.51)


def test_a_uniform_map_does_not_glow():
  low, high = explain.colour_limits(
    np.ones((2, 3, 4)) + np.linspace(0, 1e-6, 4)
  )
  assert low == pytest.approx(0.9) and high == pytest.approx(1.1)
  assert explain.colour_limits(np.array([0.5, 2.0])) == (0.5, 2.0)


def test_the_same_explanation_gives_the_same_bytes(tmp_path):
  """And no warning of missing letters."""
  warnings.simplefilter('error')
  for name in ('one', 'two'):
    explain.write(tmp_path / name, make(heads=ODD))
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


def test_an_explanation_is_of_the_middle_clip(config, trained):
  predictor = vivit_jax.load(trained(config))
  video = blocks(3, 23, (40, 40))
  found = explain.Explainer(predictor).explain(video, HEADS)
  (clip,) = predictor.clips(video, views='1x1')
  np.testing.assert_array_equal(found.frames, clip)
  rollout = attention_rollout(config.model)(
    predictor.params, (clip[None] / 255.0 - 0.5) / 0.5
  )
  shares = np.asarray(rollout.attention[0])
  tokens = shares / shares.sum((1, 2), keepdims=True) * shares[0].size
  np.testing.assert_allclose(found.space, tokens, rtol=1e-4)
  times = shares.sum((1, 2)) / shares.sum() * len(shares)
  np.testing.assert_allclose(found.time, times, rtol=1e-4)


def test_a_gradient_is_of_the_first_classes(config, trained):
  """Those of the captions, not the clip's; negative weights become 0."""
  predictor = vivit_jax.load(trained(config))
  video = blocks(3, 23, (40, 40))
  clips = predictor.clips(video, views='1x1')
  lasts = {head: x.argmin(-1) for head, x in predictor.logits(clips).items()}
  heads = {
    head: Ranking(('last',), np.ones(1), np.eye(config.model.heads[head])[last])
    for head, (last,) in lasts.items()
  }
  found = explain.Explainer(predictor, 'gradient').explain(video, heads)
  assert found.by == 'gradient'
  clips = (clips / 255.0 - 0.5) / 0.5
  weights = gradient.contributions(config.model)(
    predictor.params, clips, None, lasts
  )[0]
  assert (weights < 0).any()
  space, time = explain.relative(np.maximum(weights, 0))
  np.testing.assert_allclose(found.space, space, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(found.time, time, rtol=1e-4)


def test_weights_are_relative_to_uniform_ones():
  weights = np.array([[[3.0, 1.0]], [[0.0, 0.0]], [[4.0, 4.0]]])
  space, time = explain.relative(weights)
  np.testing.assert_allclose(space, [[[1.5, 0.5]], [[0, 0]], [[1, 1]]])
  np.testing.assert_allclose(time, [1, 0, 2])
  for part in explain.relative(np.zeros((2, 1, 2))):
    np.testing.assert_array_equal(part, 0)


def test_the_method_is_rollout_where_the_model_has_it(
  config, trained, tmp_path, capsys
):
  predictor = vivit_jax.load(trained(config))
  by_default = explain.Explainer(predictor)
  assert by_default.by == 'rollout' and not by_default.note
  with pytest.raises(UserError, match='rollout, gradient'):
    explain.Explainer(predictor, 'attention')
  model = dataclasses.replace(config.model, pool='attention')
  pooled = dataclasses.replace(config, model=model)
  predictor = vivit_jax.load(trained(pooled, 'pooled'))
  with pytest.raises(UserError, match='--explain_by=gradient') as caught:
    explain.Explainer(predictor, 'rollout')
  assert '\n' not in str(caught.value)
  write(tmp_path / 'a.mkv', blocks(3, 23, (40, 40)), rate=10)
  options = command.Options(json=True, explain=str(tmp_path))
  assert command.run([str(tmp_path / 'a.mkv')], options, lambda: predictor) == 0
  output = capsys.readouterr()
  assert "model.pool='attention'" in output.err  # why not by rollout
  pictures = json.loads(output.out)['pictures']
  assert pictures == [str(tmp_path / f'a.{x}') for x in ('png', 'gif')]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='file/look.png'):
    explain.write(tmp_path / 'file' / 'look', make())


def test_the_last_index_may_have_fewer_frames():
  """As in MViT and Video Swin, whose clips may be odd."""
  whole = make(t=3)
  odd = dataclasses.replace(whole, frames=whole.frames[:5])
  assert odd.tubelet == 2
  with Image.open(io.BytesIO(explain.draw_animation(odd))) as animation:
    assert animation.n_frames == 5
  texts = [text.get_text() for text in explain.draw_picture(odd).findobj(Text)]
  assert '0.40 s\nframe 5' in texts
