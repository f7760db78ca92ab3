"""A trained model that answers for single videos."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import einops
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
from vivit_jax.inference import cutting, videos
from vivit_jax.models import pixels

_MOST_CLIPS = 16  # in one pass through the model


@dataclasses.dataclass(frozen=True)
class Ranking:
  """The likeliest classes of a head, the likeliest first.

  Attributes:
    labels: their names.
    probabilities: float64, of each of them.
    every: float64 [K], of all classes, in the order of `label_names`.
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
  """What a model says of a video.

  Attributes:
    video: its name.
    heads: the ranking of each head.
  """

  video: str
  heads: Mapping[str, Ranking]

  def to_json(self) -> dict[str, Any]:
    heads = {head: ranking.to_json() for head, ranking in self.heads.items()}
    return {'video': self.video, 'heads': heads}


@dataclasses.dataclass(frozen=True)
class Window:
  """What a model says of a part of a video, from `start` to `end` seconds."""

  start: float
  end: float
  heads: Mapping[str, Ranking]

  def to_json(self) -> dict[str, Any]:
    heads = {head: ranking.to_json() for head, ranking in self.heads.items()}
    times = {'start': round(self.start, 3), 'end': round(self.end, 3)}
    return {**times, 'heads': heads}


def load(
  path: str | os.PathLike,
  *,
  ema: bool | None = None,
  stride: int | None = None,
  short_videos: str | None = None,
  **options: Any,
) -> 'Predictor':
  """Reads a model, to look at videos with; `vivit_jax.load` is this.

  Args:
    path: of a workdir, or of a checkpoint of any format.
    ema, stride, short_videos: as of `overrides.override`.
    **options: as of `checkpoints.load.load`.

  Raises:
    UserError: as `checkpoints.load.load`.
  """

  def override(config: TrainConfig) -> TrainConfig:
    return overrides.override(
      config, ema=ema, stride=stride, short_videos=short_videos
    )

  return Predictor(loading.load(path, override=override, **options))


class Predictor:
  """A model with its weights, its labels and its way to see videos.

  `vivit_jax.load` makes one. The model is compiled at the first clip, once for
  each number of views, and computes on jax's first device.

  Attributes:
    name: of the checkpoint, for people.
    config: of the experiment.
    label_names: of each head, in the order of its outputs.
    multi_label: heads of which a video may have any number of labels; their
      probabilities are each for itself, and do not sum to 1.
    preprocessing: as of `LoadedModel`.
    model: the Flax module, of which `params` are the parameters.
    params: on the device.
  """

  def __init__(self, loaded: LoadedModel):
    """Takes what `checkpoints.load` read."""
    self.name = loaded.name
    self.config: TrainConfig = loaded.config
    self.label_names = {k: list(v) for k, v in loaded.label_names.items()}
    self.multi_label = frozenset(loaded.multi_label)
    self.preprocessing = loaded.preprocessing
    self.model: nn.Module = loaded.model
    self.params = jax.tree.map(jnp.asarray, loaded.stacked)
    self._logits = _compiled(self.model, self.config, features=False)
    self._features = _compiled(self.model, self.config, features=True)

  def clips(
    self,
    video: videos.Source,
    *,
    views: str | None = None,
    frames_per_second: float | None = None,
  ) -> np.ndarray:
    """Returns the views of a video, uint8 [V, T, H, W, 3], as evaluate.py does.

    Arguments and errors as of `predict`.
    """
    opened = videos.open_video(video, frames_per_second)
    return self._cut(opened, views)

  def predict(
    self,
    video: videos.Source,
    *,
    views: str | None = None,
    top: int = 5,
    frames_per_second: float | None = None,
  ) -> Prediction:
    """Says what a video shows.

    Args:
      video: path of a file, or frames, uint8 RGB [T, H, W, 3].
      views: temporal x spatial views, '4x3'; None for those of the config's
        evaluation.
      top: how many classes of each head.
      frames_per_second: of frames in memory, where the config's clips are so
        many frames a second; of a file, instead of its own.

    Raises:
      UserError: a video that cannot be read, or is too short.
    """
    _check_top(top)
    opened = videos.open_video(video, frames_per_second)
    return self.predict_clips(self._cut(opened, views), opened.name, top=top)

  def predict_clips(
    self, clips: np.ndarray, name: str = 'the video', *, top: int = 5
  ) -> Prediction:
    """Does what `predict` does, with the clips that `clips` returned."""
    _check_top(top)
    return Prediction(name, self._rank(self.logits(clips), top))

  def features(
    self,
    video: videos.Source,
    *,
    tokens: bool = False,
    views: str | None = None,
    frames_per_second: float | None = None,
  ) -> np.ndarray:
    """Returns what the model's head would see of a video, for other work.

    Args:
      video, frames_per_second: as of `predict`.
      tokens: of one clip in the middle, instead of all views.
      views: as of `predict`; not with `tokens`.

    Returns:
      float32 [D], averaged over the views; or all tokens after the encoder (in
      Model 2, after the spatial one), [t, h, w, D].

    Raises:
      UserError: as of `predict`.
    """
    if tokens and views not in (None, '1x1'):
      raise UserError(
        f"tokens are of one clip, the middle one, not of views '{views}': "
        'leave the views out.'
      )
    clips = self.clips(
      video,
      views='1x1' if tokens else views,
      frames_per_second=frames_per_second,
    )
    return self.features_of(clips, tokens=tokens)

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
    """Yields what the parts of a long video show, as they are decoded.

    Args:
      video, top, frames_per_second: as of `predict`.
      window: seconds; None for the length of a clip. The last one ends with the
        video; a shorter video is one window.
      stride: seconds from one window to the next; None for `window`.
      views: of each window; None for as many clips as fit, of the centre.

    Raises:
      UserError: a video that cannot be read, or of unknown rate; a window
        shorter than a clip.
    """
    _check_top(top)
    for name, seconds in (('window', window), ('stride', stride)):
      cutting.check_seconds(f'the {name}', seconds)
    parts = cutting.windows(
      videos.open_video(video, frames_per_second),
      self.config.data,
      None if views is None else cutting.parse(views),
      window,
      stride,
    )
    first = next(parts)
    together = max(1, _MOST_CLIPS // len(first.clips))
    parts = itertools.chain([first], parts)
    while batch := list(itertools.islice(parts, together)):
      clips = np.stack([part.clips for part in batch])
      # Always of one shape, lest the model be compiled again.
      missing = ((0, together - len(batch)), *[(0, 0)] * (clips.ndim - 1))
      logits = self._run(np.pad(clips, missing))
      for place, part in enumerate(batch):
        mine = {head: found[place] for head, found in logits.items()}
        yield Window(part.start, part.end, self._rank(mine, top))

  def logits(self, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Returns float32 [V, K] of each head, of clips uint8 [V, T, H, W, 3]."""
    return self._apply(self._logits, clips)

  def features_of(
    self, clips: np.ndarray, *, tokens: bool = False
  ) -> np.ndarray:
    """Returns `features` of clips, uint8 [V, T, H, W, 3]."""
    kind = 'tokens' if tokens else 'pooled'
    each = self._apply(self._features, clips)[kind]
    return each[0] if tokens else each.mean(axis=0)

  def _apply(
    self, function: Callable, clips: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Returns what a compiled function gives of all clips."""
    clips = self._checked(clips)
    try:
      found = [function(self.params, part) for part in _parts(clips)]
      return _joined(found, len(clips))
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      raise UserError(
        f'the device has no memory for {min(len(clips), _MOST_CLIPS)} clips at '
        'a time: ask for fewer --views.'
      ) from None

  def _checked(self, clips: np.ndarray) -> np.ndarray:
    """Returns clips as an array, if they are what the model takes."""
    data = self.config.data
    wanted = (data.frames, *data.crop, 3)
    try:
      clips = np.asarray(clips)
    except ValueError:
      raise UserError(
        f'the clips are not of one shape: give uint8 [V, {_listed(wanted)}].'
      ) from None
    if clips.dtype != np.uint8 or clips.shape[1:] != wanted or not len(clips):
      raise UserError(
        f'the clips are {clips.dtype} of shape [{_listed(clips.shape)}]; the '
        f'model takes uint8 [V, {_listed(wanted)}] of one view or more, as '
        'clips() returns them.'
      )
    return clips

  def _run(self, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Returns float32 [n, V, K] of clips [n, V, T, H, W, 3]."""
    count = len(clips)
    flat = einops.rearrange(clips, 'n V ... -> (n V) ...')
    return {
      head: einops.rearrange(found, '(n V) K -> n V K', n=count)
      for head, found in self.logits(flat).items()
    }

  def _cut(self, opened: videos.Video, asked: str | None) -> np.ndarray:
    evaluation = self.config.evaluation
    wanted = cutting.Views(evaluation.temporal_views, evaluation.spatial_crops)
    if asked is not None:
      wanted = cutting.parse(asked)
    return cutting.cut(opened, self.config.data, wanted)

  def _rank(
    self, logits: Mapping[str, np.ndarray], top: int
  ) -> dict[str, Ranking]:
    """Ranks classes by logits [V, K] of each head, averaged over the views."""
    ranked, average = {}, self.config.evaluation.average
    for head, each in logits.items():
      if not np.isfinite(each).all():
        raise UserError(
          f'the model gives logits that are not finite for head {head}: take '
          'an earlier checkpoint.'
        )
      several = head in self.multi_label
      scores = averaging.average_views(each[None], average, several)
      every = averaging.probabilities(scores, average, several)[0]
      first = metrics.top_k(scores, top)[0]
      names = tuple(self.label_names[head][place] for place in first)
      ranked[head] = Ranking(names, every[first], every)
    return ranked


def _check_top(top: int) -> None:
  if isinstance(top, bool) or not isinstance(top, (int, np.integer)) or top < 1:
    raise UserError(f'top is {top!r}; a whole number of labels, at least 1.')


def _listed(shape: Iterable[int]) -> str:
  return ', '.join(str(size) for size in shape)


def _compiled(
  model: nn.Module, config: TrainConfig, features: bool
) -> Callable[[Any, np.ndarray], dict[str, jax.Array]]:
  """Returns (parameters, clips) -> logits or features, in float32."""

  def apply(params, clips):
    clips = pixels.normalise(clips, config.data.mean, config.data.std)
    found = model.apply({'params': params}, clips, features=features)
    if features:
      found = {'tokens': found.tokens, 'pooled': found.pre_logits}
    return jax.tree.map(lambda x: x.astype(jnp.float32), found)

  return jax.jit(apply)


def _parts(clips: np.ndarray) -> Iterator[np.ndarray]:
  """Yields clips, always as many at a time; the last ones are padded."""
  size = min(len(clips), _MOST_CLIPS)
  for start in range(0, len(clips), size):
    part = clips[start : start + size]
    missing = ((0, size - len(part)), *[(0, 0)] * (part.ndim - 1))
    yield np.pad(part, missing)


def _joined(
  found: list[dict[str, jax.Array]], count: int
) -> dict[str, np.ndarray]:
  return {
    name: np.concatenate([np.asarray(part[name]) for part in found])[:count]
    for name in found[0]
  }
