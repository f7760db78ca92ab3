"""The grid of a checkpoint's positions: stated, inferred, or refused."""

import pytest

from vivit_jax.errors import UserError
from vivit_jax.models import resize


@pytest.mark.parametrize(
  'count, guess, encoder, grid',
  [
    (3136, (16, 14, 14), 'Transformer', (16, 14, 14)),  # the model's own
    (3136, (8, 14, 14), 'Transformer', None),
    (3136, (16, 7, 7), 'Transformer', None),  # 64 x 7 x 7, or halved crops
    (196, (1, 20, 20), 'SpatialTransformer', (1, 14, 14)),  # a square
    (196, (1, 7, 28), 'SpatialTransformer', None),  # the model's own, or that
    (200, (1, 10, 20), 'SpatialTransformer', (1, 10, 20)),
    (200, (1, 14, 14), 'SpatialTransformer', None),
    (9, (16, 1, 1), 'TemporalTransformer', (9, 1, 1)),
  ],
)
def test_a_grid_is_inferred_or_refused(count, guess, encoder, grid):
  grids = resize.PositionGrids(
    grid=guess,
    guess=guess,
    has_token=False,
    in_space=encoder == 'SpatialTransformer',
    in_time=encoder == 'TemporalTransformer',
  )
  if grid is None:
    with pytest.raises(UserError, match=f'{encoder} .*init_grid'):
      resize.grid_of(count, encoder, grids)
  else:
    assert resize.grid_of(count, encoder, grids) == grid


@pytest.mark.parametrize(
  'count, in_space, grid',
  [(36, False, (4, 3, 3)), (9, True, (1, 3, 3)), (45, False, None)],
)
def test_a_stated_grid_overrides_inference(count, in_space, grid):
  grids = resize.PositionGrids(
    grid=(1, 6, 6),
    guess=(1, 6, 6),
    has_token=False,
    stored=(4, 3, 3),
    in_space=in_space,
  )
  if grid is None:
    with pytest.raises(UserError, match='pos .*4 x 3 x 3 .*init_grid'):
      resize.grid_of(count, 'pos', grids)
  else:
    assert resize.grid_of(count, 'pos', grids) == grid


def test_the_grid_of_the_same_clip_in_other_tubelets():
  """16 x 14 x 14 of tubelets of 2 x 16 x 16 are 8 x 28 x 28 of 4 x 8 x 8."""
  found = resize.same_clip((8, 28, 28), (4, 8, 8), (2, 16, 16))
  assert found == (16, 14, 14)
  image = resize.same_clip((16, 14, 14), (2, 16, 16), (16, 16))
  assert image == (16, 14, 14)
