"""The flag --config, and a flag for each key of the config."""

import re
import sys
from typing import TYPE_CHECKING

from absl import flags

from vivit_jax import commands, config_file
from vivit_jax import config as configs
from vivit_jax.errors import UserError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

flags.disclaim_key_flags()  # as in `commands`

# Keys whose value is a mapping -> an example.
_MAPPINGS = {
  'model.heads': "{'verb': 97}",
  'train.head_weights': "{'verb': 2.0}",
  'init_options': "{'tubelet': (2, 16, 16)}",
}


def define_config(text: str) -> flags.FlagHolder:
  """Defines --config, and a flag --config.KEY for each key of the file.

  --config.model.family is applied first, so that other flags can set options of
  the new family.

  Args:
    text: help of --config.
  """
  from ml_collections import ConfigDict, config_flags

  for kind, parser in (
    (float, _OrNone(flags.FloatParser(), 'None', 'none')),
    (int, _OrNone(flags.IntegerParser(), 'None', 'none')),
    (str, _OrNone(flags.ArgumentParser(), 'None')),  # 'none' may be a value
  ):
    config_flags.register_flag_parser_for_type(kind, parser)
  holder = config_flags.DEFINE_config_file('config', None, text)
  parser = flags.FLAGS['config'].parser
  parse = parser.parse
  families = []  # model.family of the parsed file

  def parse_with_family(path):
    config = parse(path)
    family = _value_of('config.model.family', sys.argv)
    # `config_file.resolve` refuses anything else.
    if isinstance(config, ConfigDict) and 'model' in config:
      if family is not None:
        configs.set_family(config, family)
      families.append(config.model.family)
    return config

  def explain(error: Exception, arguments: list[str]) -> Exception | None:
    return _explain(error, arguments, families[-1] if families else None)

  parser.parse = parse_with_family
  commands.explain_with(explain)
  return holder


class _OrNone(flags.ArgumentParser):
  """Parses some words as None, and all else as another parser does.

  A key that takes no None refuses it when the config is resolved.
  """

  def __init__(self, parser: flags.ArgumentParser, *nones: str):
    self._parser, self._nones = parser, nones
    self.syntactic_help = parser.syntactic_help

  def parse(self, argument):
    if argument in self._nones:
      return None
    return self._parser.parse(argument)

  def flag_type(self) -> str:
    return self._parser.flag_type()


def read_config(holder: 'flags.FlagHolder[ConfigDict]') -> configs.TrainConfig:
  """Returns the checked config of --config, with the overrides of flags.

  Raises:
    UserError: a missing file, or invalid values.
  """
  flag, config = flags.FLAGS['config'], holder.value
  for key, value in flag.override_values.items():
    if value in (('None',), ('none',), (None,)):  # flags of tuples are tuples
      section, _, name = key.rpartition('.')
      (config[section] if section else config)[name] = None
  path = flag.config_filename
  try:
    return config_file.resolve(config, path)
  except OSError:
    raise UserError(f'there is no config file {path}.') from None


def _value_of(name: str, arguments: list[str]) -> str | None:
  """Returns the last value of a flag on a command line, before parsing."""
  value = None
  for index, argument in enumerate(arguments):
    flag, equals, text = argument.lstrip('-').partition('=')
    if argument.startswith('-') and flag == name:
      value = text if equals else ''.join(arguments[index + 1 : index + 2])
  return value


def _explain(
  error: Exception, arguments: list[str], family: str | None
) -> Exception | None:
  """Returns a UserError for an error in the config file or a --config flag."""
  path = _value_of('config', arguments)
  # A colon separates a file from its argument.
  in_file = path and config_file.mistake(error, path.split(':')[0])
  if in_file:
    return in_file
  if isinstance(error, flags.UnrecognizedFlagError):
    if error.flagname.startswith('config.'):
      return UserError('--config is missing; --help shows the usage.')
  elif isinstance(error, flags.IllegalFlagValueError):
    pattern = r'flag (--config\.([\w.]+)=.*): Failed to parse .* ConfigDict'
    if match := re.search(pattern, str(error)):
      return _no_mapping(match[1], match[2])
  elif isinstance(error.__context__, UserError):  # of `set_family`
    return error.__context__
  elif isinstance(error, AttributeError | KeyError):
    for argument in arguments[1:]:
      flag = argument.lstrip('-').partition('=')[0]
      key = flag.removeprefix('config.')
      section, _, name = key.rpartition('.')
      of_family = section == 'model.options' and f"'{name}'" in str(error)
      if key != flag and (of_family or not configs.is_key(key)):
        return _unknown_key(key, argument, family)
  return None


def _no_mapping(argument: str, key: str) -> UserError:
  """Returns the error for a value that is not the mapping that a key takes."""
  if key in _MAPPINGS:
    return UserError(
      f'{argument}: {key} takes a mapping, as in '
      f'--config.{key}="{_MAPPINGS[key]}"; without entries, {{}}.'
    )
  return UserError(
    f'{argument}: {key} is a section of keys; set them one by one, as in '
    f'--config.{key}.KEY=VALUE.'
  )


def _unknown_key(key: str, argument: str, family: str | None) -> UserError:
  for section, example in _MAPPINGS.items():
    if key.startswith(f'{section}.'):
      return UserError(
        f'{argument}: set {section} in the config file, as in '
        f'config.{section} = {example}.'
      )
  return UserError(f'{argument}: {configs.unknown_key(key, family)}')
