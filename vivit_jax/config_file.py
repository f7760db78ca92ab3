"""Runs config files, and explains errors in them in one sentence."""

import os
import re
import runpy
import traceback
from typing import Any

from vivit_jax import config as configs
from vivit_jax.errors import UserError


def run(path: str) -> configs.TrainConfig:
  """Returns the checked config of a file.

  Args:
    path: a Python file with a function `get_config`, or a .json file, such as a
      workdir's config.json.

  Raises:
    UserError: a missing file, code that fails, or invalid values.
  """
  if not os.path.isfile(path):
    raise UserError(f'there is no config file {path}.')
  if path.endswith('.json'):
    return _read_json(path)
  try:
    config = runpy.run_path(path)['get_config']()
  except Exception as error:  # a config file may raise anything
    raise mistake(error, path) or error from None
  return resolve(config, path)


def _read_json(path: str) -> configs.TrainConfig:
  try:
    with open(path, encoding='utf-8') as file:
      config = configs.from_json(file.read())
  except UnicodeDecodeError as error:
    raise UserError(f'{path} is not UTF-8 text: {error.reason}.') from None
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  configs.check(config)
  return config


def resolve(config: Any, path: str) -> configs.TrainConfig:
  """Returns the result of a file's `get_config` as a checked config.

  Raises:
    UserError: it is not a ConfigDict, or has invalid values.
  """
  if not hasattr(config, 'to_dict'):
    raise UserError(
      f'get_config of {path} must return a ConfigDict: start from config = '
      'configs.default(), and return config.'
    )
  return configs.resolve(config)


def mistake(error: BaseException | None, path: str) -> UserError | None:
  """Returns a UserError that explains an error in a config file.

  None if neither the error nor its context was raised in the file.
  """
  while error is not None:
    if location := _location(error, path):
      return UserError(f'{location}: {_sentence(error)}')
    error = error.__context__
  return None


def _location(error: BaseException, path: str) -> str | None:
  """Returns 'file, line n' of an error in the config file's folder, or None.

  A config file may import others from its folder.
  """
  if isinstance(error, SyntaxError) and error.filename:
    return f'{error.filename}, line {error.lineno}'
  folder = os.path.dirname(os.path.abspath(path))
  for frame in reversed(traceback.extract_tb(error.__traceback__)):
    if os.path.dirname(os.path.abspath(frame.filename)) == folder:
      return f'{frame.filename}, line {frame.lineno}'
  return path if "'get_config'" in str(error) else None


def _sentence(error: BaseException) -> str:
  if isinstance(error, SyntaxError):
    return f'invalid Python: {error.msg}.'
  message = (str(error).strip().splitlines() or [''])[0].rstrip('.')
  if "'get_config'" in message:
    return 'the function get_config is missing.'
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
  if match := re.search(types, message):
    wanted = match[3].replace('ConfigDict', 'mapping')
    return (
      f"the key '{match[1]}' is {match[2]!r}; it takes a value of {wanted}."
    )
  return f'{type(error).__name__}: {message}.'
