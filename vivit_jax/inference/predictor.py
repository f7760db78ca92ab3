"""Predicts labels and features of single videos with a trained model."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.checkpoints import load as loading
from vivit_jax.checkpoints import overrides
from vivit_jax.checkpoints.loaded import LoadedModel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.evaluation import averaging, metrics
from vivit_jax.inference import videos
from vivit_jax.inference.video_views import cut_views, window_clips
from vivit_jax.models import pixels

_MAX_CLIPS = 16  # per forward pass


@dataclasses.dataclass(frozen=True)
class Ranking:
  """The most probable classes of a head, most probable first.

  Attributes:
    labels: names of these classes.
    probabilities: float64, of these classes.
    every: float64 [K], probabilities of all classes, in the order of
      `label_names`.
  """

  labels: tuple[str, ...]
  probabilities: np.ndarray
  every: np.ndarray

  def to_json(self) -> list[dict[str, Any]]:
    return [
      {'label': label, 'probability': round(float(probability), 6)}
      for label, probability in zip(self.labels, self.probabilities)
    ]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The prediction for a video: its name, and a ranking for each head."""

  video: str
  heads: Mapping[str, Ranking]

  def to_json(self) -> dict[str, Any]:
    return {'video': self.video, 'heads': _to_json(self.heads)}


@dataclasses.dataclass(frozen=True)
class Window:
  """The prediction for a video from `start` to `end` seconds."""

  start: float
  end: float
  heads: Mapping[str, Ranking]

  def to_json(self) -> dict[str, Any]:
    times = {'start': round(self.start, 3), 'end': round(self.end, 3)}
    return times | {'heads': _to_json(self.heads)}


def _to_json(heads: Mapping[str, Ranking]) -> dict[str, Any]:
  return {head: ranking.to_json() for head, ranking in heads.items()}


def load(
  path: str | os.PathLike,
  *,
  ema: bool | None = None,
  stride: int | None = None,
  sampling: str | None = None,
  short_videos: str | None = None,
  square_pixels: bool = True,
  **options: Any,
) -> 'Predictor':
  """Loads a trained model; `vivit_jax.load` calls this.

  Args:
    path: a workdir, or a checkpoint of any format.
    ema, stride, sampling, short_videos: see `overrides.override`.
    square_pixels: see `Predictor`.
    **options: see `checkpoints.load.load`.

  Raises:
    UserError: see `checkpoints.load.load`.
  """

  changes = {
    'ema': ema, 'stride': stride, 'sampling': sampling,
    'short_videos': short_videos,
  }  # fmt: skip
  override = functools.partial(overrides.override, **changes)
  loaded = loading.load(path, override=override, **options)
  return Predictor(loaded, square_pixels)


class Predictor:
  """A trained model with its labels and its preprocessing.

  Returned by `vivit_jax.load`. The model runs on jax's first device. It is
  compiled at the first prediction, and again for each new number of views.

  Attributes:
    name: of the checkpoint, for messages.
    config: of the experiment.
    label_names: class names of each head, in the order of its outputs.
    multi_label: heads with any number of labels per video. Their probabilities
      are independent and do not sum to 1.
    preprocessing: see `LoadedModel`.
    square_pixels: as in `decode.decode_video`.
    model: the Flax module.
    params: its parameters, on the device.
  """

  def __init__(self, loaded: LoadedModel, square_pixels: bool = True):
    """Wraps the result of `checkpoints.load.load`."""
    self.name = loaded.name
    self.config: TrainConfig = loaded.config
    self.label_names = {k: list(v) for k, v in loaded.label_names.items()}
    self.multi_label = frozenset(loaded.multi_label)
    self.preprocessing = loaded.preprocessing
    self.square_pixels = square_pixels
    self.model: nn.Module = loaded.model
    self.params = jax.tree.map(jnp.asarray, loaded.stacked)
    self._logits = _compiled(self.model, self.config, features=False)
    self._features = _compiled(self.model, self.config, features=True)

  def open(
    self, video: videos.Source, frames_per_second: float | None = None
  ) -> videos.Video:
    """Opens a video; see `predict` and, for live video, `timeline`."""
    return videos.open_video(video, frames_per_second, self.square_pixels)

  def clips(
    self,
    video: videos.Source,
    *,
    views: str | None = None,
    frames_per_second: float | None = None,
  ) -> np.ndarray:
    """Returns the views of a video as in evaluation, uint8 [V, T, H, W, 3].

    Args and errors: see `predict`.
    """
    return self.clips_and_numbers(
      video, views=views, frames_per_second=frames_per_second
    )[0]

  def clips_and_numbers(
    self,
    video: videos.Source,
    *,
    views: str | None = None,
    frames_per_second: float | None = None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the result of `clips`, and its frame numbers, int32 [V, T].

    They count from 0 in the video. Some models read them
    (`Family.reads_frame_numbers`). Args and errors: see `predict`.
    """
    evaluation = self.config.evaluation
    counts = evaluation.temporal_views, evaluation.spatial_crops
    if views is not None:
      counts = overrides.parse_views(views)
    if videos.is_endless(video):
      raise UserError(
        f'{videos.name_of(video)} is live, and has no views: use timeline.'
      )
    opened = self.open(video, frames_per_second)
    return cut_views(opened, self.config.data, counts, evaluation.views_from)

  def predict(
    self,
    video: videos.Source,
    *,
    views: str | None = None,
    top: int = 5,
    frames_per_second: float | None = None,
  ) -> Prediction:
    """Predicts the labels of a video.

    Args:
      video: path of a file, or frames, uint8 RGB [T, H, W, 3].
      views: temporal x spatial views, such as '4x3'; None for the config's.
      top: number of labels for each head.
      frames_per_second: frame rate. Needed for frames in memory if the config
        sets `data.frames_per_second`; replaces the rate that a file reports.

    Raises:
      UserError: the video cannot be read or is too short, or an argument is
        invalid.
    """
    clips, numbers = self.clips_and_numbers(
      video, views=views, frames_per_second=frames_per_second
    )
    name = videos.name_of(video)
    return self.predict_clips(clips, name, top=top, frame_numbers=numbers)

  def predict_clips(
    self,
    clips: np.ndarray,
    name: str = 'the video',
    *,
    top: int = 5,
    frame_numbers: np.ndarray | None = None,
  ) -> Prediction:
    """Predicts the labels of a video from the results of `clips_and_numbers`.

    Raises:
      UserError: the clips do not fit the model, or it needs frame numbers.
    """
    return Prediction(name, self._rank(self.logits(clips, frame_numbers), top))

  def features(
    self,
    video: videos.Source,
    *,
    tokens: bool = False,
    views: str | None = None,
    frames_per_second: float | None = None,
  ) -> np.ndarray:
    """Returns the input of the classification heads, or tokens.

    Args:
      video, frames_per_second: see `predict`.
      tokens: whether to return tokens of a single view's clip instead.
      views: see `predict`; not with `tokens`.

    Returns:
      float32 [D], averaged over the views. With `tokens`, float32 [t, h, w, D],
      the output of the encoder (in Model 2, of the spatial encoder).

    Raises:
      UserError: see `predict`.
    """
    if tokens and views not in (None, '1x1'):
      raise UserError(
        f"views are '{views}', but tokens are of a single clip: leave views "
        'out.'
      )
    clips, numbers = self.clips_and_numbers(
      video,
      views='1x1' if tokens else views,
      frames_per_second=frames_per_second,
    )
    return self.features_of(clips, tokens=tokens, frame_numbers=numbers)

  def timeline(
    self,
    video: videos.Source,
    *,
    window: float | None = None,
    stride: float | None = None,
    views: str | None = None,
    top: int = 5,
    frames_per_second: float | None = None,
  ) -> Iterator[Window]:
    """Yields predictions for windows of a long video, while it is decoded.

    Args:
      video: as in `predict`; or live: an iterator over frames, uint8 RGB
        [H, W, 3], or a str of a URL, a device, a pipe, or '-'.
      window, stride, views: see `video_views.window_clips`.
      top, frames_per_second: see `predict`.

    Raises:
      UserError: see `video_views.window_clips`.
    """
    opened = self.open(video, frames_per_second)
    parts = window_clips(
      opened,
      self.config.data,
      views and overrides.parse_views(views),
      window,
      stride,
      self.config.evaluation.views_from,
    )
    first = next(parts)
    count = len(first.clips)
    together = max(1, _MAX_CLIPS // count)  # windows per forward pass
    if opened.count is None:  # live: predict each window as soon as it ends
      together = 1
    parts = itertools.chain([first], parts)
    while batch := list(itertools.islice(parts, together)):
      # All batches have one shape, so that the model is compiled once.
      clips, numbers = (
        _padded(np.concatenate(arrays), together * count)
        for arrays in zip(*((part.clips, part.frame_numbers) for part in batch))
      )
      logits = self.logits(clips, numbers)
      for index, part in enumerate(batch):
        rows = slice(index * count, (index + 1) * count)
        heads = {head: values[rows] for head, values in logits.items()}
        yield Window(part.start, part.end, self._rank(heads, top))

  def logits(
    self, clips: np.ndarray, frame_numbers: np.ndarray | None = None
  ) -> dict[str, np.ndarray]:
    """Returns the logits of each head, float32 [V, K]; see `predict_clips`.

    Raises:
      UserError: a model without a head, or as `predict_clips`.
    """
    if not self.label_names:
      raise UserError(
        f'{self.name} has no head, so it gives features() alone: train a head '
        'with --config.init_from.'
      )
    return self._apply(self._logits, clips, frame_numbers)

  def features_of(
    self,
    clips: np.ndarray,
    *,
    tokens: bool = False,
    frame_numbers: np.ndarray | None = None,
  ) -> np.ndarray:
    """Returns the features of clips; see `features` and `predict_clips`."""
    kind = 'tokens' if tokens else 'pooled'
    features = self._apply(self._features, clips, frame_numbers)[kind]
    return features[0] if tokens else features.mean(axis=0)

  def _apply(
    self,
    function: Callable,
    clips: np.ndarray,
    frame_numbers: np.ndarray | None,
  ) -> dict[str, np.ndarray]:
    """Applies a compiled function to all clips, `_MAX_CLIPS` at a time."""
    clips = self._checked(clips)
    both = clips, self._checked_numbers(frame_numbers, clips)
    size = min(len(clips), _MAX_CLIPS)
    try:
      outputs = []
      for start in range(0, len(clips), size):
        part = [x if x is None else x[start : start + size] for x in both]
        part = [x if x is None else _padded(x, size) for x in part]
        outputs.append(function(self.params, *part))
      return jax.tree.map(
        lambda *parts: np.concatenate(parts)[: len(clips)], *outputs
      )
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      raise UserError(
        f'the device has too little memory for {size} clips: use fewer --views.'
      ) from None

  def _checked(self, clips: np.ndarray) -> np.ndarray:
    """Returns clips as an array; raises a UserError if they do not fit."""
    data = self.config.data
    shape, clips = (data.frames, *data.crop, 3), np.asarray(clips)
    if clips.dtype != np.uint8 or clips.shape[1:] != shape or not len(clips):
      raise UserError(
        f'the clips are {clips.dtype} {list(clips.shape)}; the model takes '
        f'uint8 [V, {", ".join(map(str, shape))}], the result of clips().'
      )
    return clips

  def _checked_numbers(
    self, numbers: np.ndarray | None, clips: np.ndarray
  ) -> np.ndarray | None:
    """Returns frame numbers, int32 [V, T]; None if the model reads none."""
    if not self.model.reads_frame_numbers:
      return None
    numbers = None if numbers is None else np.asarray(numbers)
    if numbers is None or numbers.shape != clips.shape[:2]:
      found = 'missing' if numbers is None else list(numbers.shape)
      raise UserError(
        f'{self.config.model.family} reads the frame numbers of clips, int '
        f'{list(clips.shape[:2])}, but they are {found}: pass both results of '
        'clips_and_numbers().'
      )
    return numbers.astype(np.int32)

  def _rank(
    self, logits: Mapping[str, np.ndarray], top: int
  ) -> dict[str, Ranking]:
    """Ranks the classes of each head by its logits [V, K]."""
    if top < 1:
      raise UserError(f'top is {top}; it must be at least 1.')
    rankings, average = {}, self.config.evaluation.average
    for head, values in logits.items():
      if not np.isfinite(values).all():
        raise UserError(
          f'the logits of head {head} are not finite: use an earlier '
          '--checkpoint.'
        )
      multi_label = head in self.multi_label
      scores = averaging.average_views(values[None], average, multi_label)
      every = averaging.probabilities(scores, average, multi_label)[0]
      first = metrics.top_k(scores, top)[0]
      names = tuple(self.label_names[head][index] for index in first)
      rankings[head] = Ranking(names, every[first], every)
    return rankings


def _compiled(
  model: nn.Module, config: TrainConfig, features: bool
) -> Callable[[Any, np.ndarray, np.ndarray | None], dict[str, jax.Array]]:
  """Returns a function: parameters, clips, numbers -> logits or features."""

  def apply(params, clips, frame_BxT):
    clips = pixels.normalise(clips, *config.data.pixels)
    outputs = model.apply(
      {'params': params}, clips, frame_BxT=frame_BxT, features=features
    )
    if features:
      outputs = {'tokens': outputs.tokens, 'pooled': outputs.pre_logits}
    return jax.tree.map(lambda x: x.astype(jnp.float32), outputs)

  return jax.jit(apply)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
  """Appends zeros along the first axis, up to a length of `count`."""
  missing = count - len(array)
  return np.pad(array, [(0, missing), *[(0, 0)] * (array.ndim - 1)])
