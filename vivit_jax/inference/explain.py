"""Where a model looks in a clip, as a picture and as a short animation.

`<name>.png`: frames of the clip, the same under the heat map of where the model
looks within each, and the time curve below them, what share each moment has.
`<name>.gif`: all frames beside their heat maps, with the curve running along.
"""

import io
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from vivit_jax import files, fonts
from vivit_jax.errors import UserError
from vivit_jax.inference import cutting, videos
from vivit_jax.inference.animation import animation
from vivit_jax.inference.drawing import Explanation
from vivit_jax.inference.picture import picture
from vivit_jax.inference.predictor import Predictor, Ranking
from vivit_jax.inference.rollout import attention_rollout
from vivit_jax.models import pixels


class Explainer:
  """Finds out where a predictor's model looks; compiled at the first clip."""

  def __init__(self, predictor: Predictor):
    self._predictor = predictor
    self._rollout = attention_rollout(predictor.config.model)

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
  with fonts.without_warnings():
    png = io.BytesIO()
    picture(explanation).savefig(png, format='png')
    contents = png.getvalue(), animation(explanation)
  try:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, contents):
      with files.replacing(path) as unfinished:
        unfinished.write_bytes(content)
  except OSError as error:
    raise UserError(
      f'cannot write {stem}.png and .gif: {error.strerror or error}.'
    ) from None
  return paths
