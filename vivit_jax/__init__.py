"""vivit_jax: training and evaluating video vision transformers in JAX.

Dimension letters, used in names and docstrings throughout the package:

  B  batch (clips)          V  views of a video
  T  H  W  pixels: frames, height, width      C  colour channels (3)
  t  h  w  the token grid: T / tubelet frames, H / patch, W / patch
  N  tokens of one sequence, a class token included where there is one
  D  width of the network   K  classes of a head

`vivit_jax.load(path)` reads a trained model, to look at videos with; nothing
heavy is imported before it is called.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
  import os
  from collections.abc import Callable, Collection, Mapping, Sequence

  from vivit_jax.config import TrainConfig
  from vivit_jax.inference.predictor import Predictor


def load(
  path: str | os.PathLike,
  *,
  checkpoint: str | int = 'best',
  config: TrainConfig | str | os.PathLike | None = None,
  class_order: Mapping[str, Sequence[str]] | str | os.PathLike | None = None,
  multi_label: Collection[str] | None = None,
  ema: bool | None = None,
  stride: int | None = None,
  short_videos: str | None = None,
  say: Callable[[str], object] = lambda text: None,
) -> Predictor:
  """Reads a trained model, to look at videos with.

  A workdir, one of its checkpoints and a Hugging Face folder of a ViViT say by
  themselves what they are; other formats need a config.

    model = vivit_jax.load('runs/demo')
    model.predict('video.mp4').heads['verb'].labels[0]

  Args:
    path: of a workdir, or of a checkpoint of any format.
    checkpoint: of a workdir: 'best', 'last', or a step.
    config: an experiment, or the file of one; None for the checkpoint's own.
    class_order: names of each head's classes, in the order of the outputs, or
      a JSON file of them; None for the checkpoint's own, else the config's,
      else 'class 0' and so on.
    multi_label: heads of which a video may have any number of labels; None for
      what the checkpoint says.
    ema: whether to take the averaged weights, if there are any; None for what
      the config says.
    stride: frames of a video from one of a clip to the next, instead of the
      config's data.stride or data.frames_per_second.
    short_videos: instead of the config's data.short_videos.
    say: gets an account of what became of each array, of foreign formats.

  Raises:
    vivit_jax.errors.UserError: no such checkpoint, a damaged one, one that
      needs a config, or weights and names that do not fit the config.
  """
  from vivit_jax.inference import predictor

  return predictor.load(
    path,
    checkpoint=checkpoint,
    config=config,
    class_order=class_order,
    multi_label=multi_label,
    ema=ema,
    stride=stride,
    short_videos=short_videos,
    say=say,
  )
