"""vivit_jax: training and evaluating video vision transformers in JAX.

Dimension letters, used in names and docstrings throughout the package:

  B  batch (clips)          V  views of a video
  T  H  W  pixels: frames, height, width      C  colour channels (3)
  t  h  w  the token grid: T / tubelet frames, H / patch, W / patch
  N  tokens of one sequence, including the class token, if any
  D  width of the network   K  classes of a head

`vivit_jax.load(path)` loads a trained model for prediction. Only this call
imports jax.
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
  sampling: str | None = None,
  short_videos: str | None = None,
  square_pixels: bool = True,
  say: Callable[[str], object] = lambda text: None,
) -> Predictor:
  """Loads a trained model for prediction.

  Of workdirs, Hugging Face folders, and the authors' files of video models
  besides ViViT, the config is known. Other formats need `config`. Weights
  without a head give features, but no labels.

    model = vivit_jax.load('runs/demo')
    model.predict('video.mp4').heads['verb'].labels[0]

  Args:
    path: a workdir, or a checkpoint of any format: its path, or its name on the
      Hugging Face Hub, 'hf://OWNER/NAME[@REVISION][/FILE]'.
    checkpoint: 'best', 'last' or a step, if `path` is a workdir.
    config: an experiment or its file; None: the checkpoint's own.
    class_order: class names of each head in the order of the outputs, or a
      JSON file of them; None: the config's, else the checkpoint's, else those
      of the config's prepared dataset if it has as many classes, else 'class 0'
      and so on.
    multi_label: heads with any number of labels per video; None: the
      checkpoint's.
    ema: use the averaged weights, if any; None: the config's evaluation.ema.
    stride: a clip takes every stride-th frame; replaces data.stride and
      data.frames_per_second.
    sampling: 'clip', 'span', 'segments' or 'whole'; replaces data.sampling.
    short_videos: replaces data.short_videos.
    square_pixels: make the pixels of video files square; False keeps frames as
      they are stored.
    say: called with a report on each array (loaded, adapted, fresh, unused) of
      a checkpoint in a foreign format.

  Raises:
    vivit_jax.errors.UserError: a missing or damaged checkpoint, a missing
      config, or weights or class names that do not fit the config.
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
    sampling=sampling,
    short_videos=short_videos,
    square_pixels=square_pixels,
    say=say,
    headless=True,
  )
