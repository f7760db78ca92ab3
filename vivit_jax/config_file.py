"""Config files are their users' own code: what they raise, in one sentence."""

import os
import re
import runpy
import traceback
from typing import Any

from vivit_jax import config as configs
from vivit_jax.errors import UserError


def run(path: str) -> configs.TrainConfig:
  """Returns the checked experiment that a file's `get_config` describes.

  Or the one that a workdir's config.json, or another .json, holds.

  Raises:
    UserError: no such file, code that fails, or values that do not fit.
  """
  if not os.path.isfile(path):
    raise UserError(f'there is no config file {path}.')
  if path.endswith('.json'):
    return _of_json(path)
  try:
    config = runpy.run_path(path)['get_config']()
  except Exception as error:  # whatever a file may raise
    raise mistake(error, path) or error from None
  return resolve(config, path)


def _of_json(path: str) -> configs.TrainConfig:
  try:
    with open(path, encoding='utf-8') as file:
      config = configs.from_json(file.read())
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: this is no text: {error.reason}.') from None
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  configs.check(config)
  return config


def resolve(config: Any, path: str) -> configs.TrainConfig:
  """Returns the checked experiment of what `get_config` of a file gave."""
  if not hasattr(config, 'to_dict'):
    raise UserError(
      f'get_config of {path} returns no ConfigDict: begin it with '
      'config = configs.default(), and return config.'
    )
  return configs.resolve(config)


def mistake(error: BaseException | None, path: str) -> UserError | None:
  """Returns the sentence for an error in a config file.

  None if neither the error nor what it came from was raised there.
  """
  while error is not None:
    if place := _place(error, path):
      return UserError(f'{place}: {_say(error)}')
    error = error.__context__
  return None


def _place(error: BaseException, path: str) -> str | None:
  """Returns 'file, line n' of the mistake, or None if it is elsewhere.

  The file may be one that the config file imports from its own folder.
  """
  if isinstance(error, SyntaxError) and error.filename:
    return f'{error.filename}, line {error.lineno}'
  folder = os.path.dirname(os.path.abspath(path))
  for frame in reversed(traceback.extract_tb(error.__traceback__)):
    if os.path.dirname(os.path.abspath(frame.filename)) == folder:
      return f'{frame.filename}, line {frame.lineno}'
  return path if "'get_config'" in str(error) else None


def _say(error: BaseException) -> str:
  if isinstance(error, SyntaxError):
    return f'this is not Python: {error.msg}.'
  message = (str(error).strip().splitlines() or [''])[0].rstrip('.')
  if "'get_config'" in message:
    return 'it has no function get_config.'
  library = traceback.extract_tb(error.__traceback__)[-1].filename
  if isinstance(error, (AttributeError, KeyError)) and library.endswith(
    'config_dict.py'
  ):
    key = re.search(r'\w+', message.replace('Key ', ''))
    return configs.unknown_key(key[0])
  types = (
    r"field '(\w+)' .*?\. (.*) is of original type .*"
    r"<class '(?:.*\.)?(\w+)'>$"
  )
  if found := re.search(types, message):
    wanted = found[3].replace('ConfigDict', 'mapping')
    return (
      f"the key '{found[1]}' is {found[2]!r}; it takes a value of {wanted}."
    )
  return f'{type(error).__name__}: {message}.'
