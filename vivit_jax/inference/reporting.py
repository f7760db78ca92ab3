"""What a person, a program or a folder gets to know of each video."""

import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from vivit_jax import commands, files
from vivit_jax.errors import UserError
from vivit_jax.inference import cutting, places, timeline, timeline_picture
from vivit_jax.inference.predictor import Prediction, Predictor, Ranking


class Reporter:
  """Predicts videos and tells of them, on stdout and in files."""

  def __init__(
    self,
    predictor: Predictor,
    *,
    names: Sequence[str],
    views: str | None = None,
    top: int = 5,
    as_json: bool = False,
    explain: str | os.PathLike | None = None,
    features: str | os.PathLike | None = None,
    tokens: bool = False,
    timeline: bool = False,
    window: float | None = None,
    window_stride: float | None = None,
    pictures: str | os.PathLike | None = None,
  ):
    """Checks, before any work, that what is asked for can be written.

    Args:
      predictor: the model.
      names: of each video's own files, without endings.
      views, top: as of `Predictor.predict`.
      as_json: lines of JSON instead of text.
      explain: folder of pictures of where the model looks.
      features: file of pooled features of all videos, or of their `tokens`.
      timeline: windows, as of `Predictor.timeline`, instead of whole videos.
      window, window_stride: their seconds.
      pictures: folder of pictures of time lines.

    Raises:
      UserError: views that are none, or a folder that cannot be written to.
    """
    self._predictor, self._names = predictor, names
    self._views, self._top, self._json = views, top, as_json
    self._timeline, self._window = timeline, window
    self._window_stride = window_stride
    self._pictures = places.made(pictures)
    self._explain = places.made(explain)
    if explain is not None:
      from vivit_jax.inference.explain import Explainer  # draws: a second

      self._explainer = Explainer(predictor)
    self._out = None if features is None else pathlib.Path(features)
    self._tokens = tokens
    self._ids: list[str] = []
    self._rows: list[np.ndarray] = []
    if views is not None:
      cutting.parse(views)

  def report(self, place: int, path: pathlib.Path) -> None:
    """Predicts the video of a place among `names`, and tells of it.

    Raises:
      UserError: it cannot be.
    """
    if self._timeline:
      self._report_windows(place, path)
    else:
      self._report_whole(place, path)

  def fail(self, path: pathlib.Path, error: UserError) -> None:
    """Tells that a video could not be predicted."""
    print(f'error: {error}', file=sys.stderr, flush=True)
    if self._json:
      _print_json({'video': str(path), 'error': str(error)})

  def finish(self) -> None:
    """Writes what is of all videos, where there were any."""
    if self._out is None or not self._ids:
      return
    kind = 'tokens' if self._tokens else 'pooled'
    try:
      arrays = {'ids': np.asarray(self._ids), kind: np.stack(self._rows)}
      with files.replacing(self._out) as unfinished:
        with open(unfinished, 'wb') as file:
          np.savez(file, **arrays)
    except OSError as error:
      raise UserError(
        f'cannot write {self._out}: {error.strerror or error}.'
      ) from None

  def _report_whole(self, place: int, path: pathlib.Path) -> None:
    predictor = self._predictor
    clips = predictor.clips(path, views=self._views)
    prediction = predictor.predict_clips(clips, str(path), top=self._top)
    if self._out is not None:
      row = (
        predictor.features(path, tokens=True)
        if self._tokens
        else predictor.features_of(clips)
      )
      self._ids.append(str(path))
      self._rows.append(row)
    pictures = self._pictures_of(place, path, prediction)
    if self._json:
      told = {'pictures': pictures} if pictures else {}
      _print_json(prediction.to_json() | told)
    else:
      lines = _lines(prediction)
      lines += [f'{"picture":>16}  {picture}' for picture in pictures]
      commands.say('\n'.join(lines))

  def _pictures_of(
    self, place: int, path: pathlib.Path, prediction: Prediction
  ) -> list[str]:
    """Writes pictures of where the model looks, and returns their paths."""
    if self._explain is None:
      return []
    from vivit_jax.inference import explain

    found = self._explainer.of_video(path, prediction.heads)
    written = explain.write(self._explain / self._names[place], found)
    return [str(picture) for picture in written]

  def _report_windows(self, place: int, path: pathlib.Path) -> None:
    windows = self._predictor.timeline(
      path,
      window=self._window,
      stride=self._window_stride,
      views=self._views,
      top=self._top,
    )
    kept = []

    def keeping():
      for window in windows:
        if self._json or self._pictures:
          kept.append(window)
        yield window

    heads = self._predictor.label_names
    found: dict[str, list[dict[str, Any]]] = {head: [] for head in heads}
    if not self._json:
      commands.say(path)
    for segment in timeline.segments(keeping()):
      found[segment.head].append(segment.to_json())
      if not self._json:
        told = timeline.line(segment, self._window, len(heads))
        commands.say(f'  {told}')
    if self._pictures is not None:
      picture = self._pictures / (self._names[place] + places.TIMELINE)
      timeline_picture.write(picture, path.name, kept, heads)
    if self._json:
      windows = [window.to_json() for window in kept]
      _print_json({'video': str(path), 'timeline': found, 'windows': windows})


def _lines(prediction: Prediction) -> list[str]:
  """Returns the video's name, and below it a line for each label."""
  lines = [prediction.video]
  for head, ranking in prediction.heads.items():
    for name, rest in zip(
      (head, *[''] * len(ranking.labels)), _shares(ranking)
    ):
      lines.append(f'{name:>16}  {rest}')
  return lines


def _shares(ranking: Ranking) -> list[str]:
  pairs = zip(ranking.labels, ranking.probabilities)
  return [f'{probability:.4f}  {label}' for label, probability in pairs]


def _print_json(value: dict[str, Any]) -> None:
  commands.say(json.dumps(value))
