"""Predicts videos one by one; prints and saves the results."""

import json
import pathlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from vivit_jax import commands, files
from vivit_jax.data import live
from vivit_jax.errors import UserError
from vivit_jax.inference import videos
from vivit_jax.inference.predictor import Prediction, Predictor, Window

if TYPE_CHECKING:
  from vivit_jax.inference.command import Options


class Report:
  """The results of `vivit_jax.predict`, printed as they come."""

  def __init__(self, predictor: Predictor, options: 'Options'):
    self._predictor, self._options = predictor, options
    self._ids: list[str] = []
    self._features: list[np.ndarray] = []
    if options.explain is not None:
      from vivit_jax.inference import explain  # imports matplotlib

      self._explainer = explain.Explainer(predictor, options.explain_by)
      if options.explain_by is None and self._explainer.note:
        print(self._explainer.note, file=sys.stderr)

  def add(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    """Predicts a video and reports the result.

    `stem` is the path of the pictures without suffix; None for no pictures.
    """
    if self._options.timeline:
      self._add_windows(path, stem)
    else:
      self._add_whole(path, stem)

  def add_live(
    self, source: str, stem: pathlib.Path | None, stop: threading.Event
  ) -> None:
    """Reports the windows of a live video until it ends or `stop` is set.

    Raises:
      UserError: it cannot be read to its end; what was predicted is reported.
    """
    options, name = self._options, live.name_of(source)
    kept: list[Window] = []
    failures: list[UserError] = []

    def windows() -> Iterator[Window]:
      try:
        opened = videos.open_live(
          source,
          options.frames_per_second,
          self._predictor.square_pixels,
          options.seconds,
          stop,
        )
        yield from self._windows(opened, None if stem is None else kept)
      except UserError as error:
        failures.append(error)

    if options.json:
      for window in windows():
        commands.say(json.dumps({'video': name} | window.to_json()))
    else:
      commands.say(name)
      self._say_segments(windows())
    if kept:
      self._plot(stem, name, kept)
    if failures and not stop.is_set():
      raise failures[0]

  def save_features(self) -> None:
    """Writes the features of all videos, if requested."""
    if self._options.features is None or not self._ids:
      return
    path = pathlib.Path(self._options.features)
    kind = 'tokens' if self._options.tokens else 'pooled'
    arrays = {'ids': np.asarray(self._ids), kind: np.stack(self._features)}
    with files.writing(path) as unfinished, open(unfinished, 'wb') as file:
      np.savez(file, **arrays)

  def _add_whole(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    options, predictor = self._options, self._predictor
    rate = options.frames_per_second
    clips, numbers = predictor.clips_and_numbers(
      path, views=options.views, frames_per_second=rate
    )
    prediction = Prediction(str(path), {})
    if predictor.label_names:  # else the model gives features alone
      prediction = predictor.predict_clips(
        clips, str(path), top=options.top, frame_numbers=numbers
      )
    if options.features is not None:
      features = (
        predictor.features(path, tokens=True, frames_per_second=rate)
        if options.tokens
        else predictor.features_of(clips, frame_numbers=numbers)
      )
      self._ids.append(str(path))
      self._features.append(features)
    pictures = []
    if stem is not None:
      from vivit_jax.inference import explain  # imports matplotlib

      explanation = self._explainer.explain(path, prediction.heads, rate)
      pictures = [str(p) for p in explain.write(stem, explanation)]
    if options.json:
      more = {'pictures': pictures} if pictures else {}
      commands.say(json.dumps(prediction.to_json() | more))
    else:
      lines = [prediction.video, *_label_lines(prediction)]
      lines += [f'{"picture":>16}  {picture}' for picture in pictures]
      commands.say('\n'.join(lines))

  def _add_windows(self, path: pathlib.Path, stem: pathlib.Path | None) -> None:
    from vivit_jax.inference import timeline  # imports matplotlib

    as_json = self._options.json
    kept: list[Window] = []
    windows = self._windows(path, kept if as_json or stem else None)
    if as_json:
      segments = {head: [] for head in self._predictor.label_names}
      for segment in timeline.segments(windows):
        segments[segment.head].append(segment.to_json())
    else:
      commands.say(path)
      self._say_segments(windows)
    if stem is not None:
      self._plot(stem, path.name, kept)
    if as_json:
      every = [window.to_json() for window in kept]
      results = {'video': str(path), 'timeline': segments, 'windows': every}
      commands.say(json.dumps(results))

  def _windows(
    self, video: videos.Source, kept: list[Window] | None
  ) -> Iterator[Window]:
    """Yields the windows of a video, and appends them to `kept`."""
    options = self._options
    for window in self._predictor.timeline(
      video,
      window=options.window,
      stride=options.window_stride,
      views=options.views,
      top=options.top,
      frames_per_second=options.frames_per_second,
    ):
      if kept is not None:
        kept.append(window)
      yield window

  def _say_segments(self, windows: Iterable[Window]) -> None:
    from vivit_jax.inference import timeline  # imports matplotlib

    for segment in timeline.segments(windows):
      commands.say(f'  {timeline.line(segment)}')

  def _plot(
    self, stem: pathlib.Path, title: str, windows: list[Window]
  ) -> None:
    from vivit_jax.inference import timeline  # imports matplotlib

    picture = stem.with_name(f'{stem.name}.timeline.png')
    timeline.write(picture, title, windows, self._predictor.label_names)


def _label_lines(prediction: Prediction) -> Iterator[str]:
  """Yields a line for each label of each head."""
  for head, ranking in prediction.heads.items():
    pairs = zip(ranking.labels, ranking.probabilities)
    for index, (label, probability) in enumerate(pairs):
      yield f'{"" if index else head:>16}  {probability:.4f}  {label}'
