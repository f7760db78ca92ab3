"""What a comparison of programs says, and what it refuses."""

import sys
import types

import pytest

from benchmarks import contestants, machine, train_step
from vivit_jax.errors import UserError


def _contestant(name, **seconds):
  return types.SimpleNamespace(name=name, seconds=seconds)


def test_the_goal_is_of_every_other_form_and_of_medians():
  ours = _contestant('ours', forward=[1.0, 2.0, 9.0], step=[3.0, 3.0, 3.0])
  even = _contestant('plain', forward=[1.0, 2.0, 1.0], step=[4.0, 3.0, 2.99])
  fast = _contestant('torch', forward=[2.0, 2.5, 9.0], step=[2.9, 2.9, 9.0])
  whats = ['forward', 'step']
  said = train_step.verdict([ours, even], whats)
  assert said == 'Goal, ours at most 1.00 of each other: reached.'
  said = train_step.verdict([ours, even, fast], whats)
  assert said.endswith('missed: step against torch.')


def test_ratios_are_of_the_first_and_named_after_it():
  first = types.SimpleNamespace(
    name='plain', seconds={'forward': [1.0]}, about={}, peak=2e6
  )
  other = types.SimpleNamespace(
    name='ours', seconds={'forward': [0.5]}, about={}, peak=1e6
  )
  head, _, *rows = train_step.table([first, other], ['forward'])
  assert head.startswith('| | forward, ms | plain / it (rounds) |')
  assert rows[1] == '| ours | 500 | 2.00 (one round) |  |  | 1 |'


def test_torch_is_given_the_sizes_of_ours():
  """For its interpreter may have no jax."""
  arguments = contestants.with_defaults(
    size='nothing of ours', dimensions=[48, 3, 96, 7], frames=4, crop=32
  )
  assert contestants._dimensions(arguments) == (48, 3, 96, 7)
  tokens, kernel = contestants._matrices(arguments)
  assert tokens.shape == (2 * 2 * 2, 48) and kernel.shape == (48, 96)
  arguments.layers = 2
  assert contestants._dimensions(arguments) == (48, 3, 96, 2)
  assert contestants.dimensions('B') == (768, 12, 3072, 12)


def test_an_interpreter_without_torch_is_told(tmp_path):
  with pytest.raises(UserError, match='is no Python'):
    machine.check_python('/bin/true')
  alone = tmp_path / 'python'
  alone.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
  alone.chmod(0o755)
  with pytest.raises(UserError, match='has no numpy, torch, transformers;'):
    machine.check_python(str(alone))


@pytest.mark.parametrize(
  'flags, words',
  [
    ('--rounds=0', '--rounds is 0; at least 1'),
    ('--batch=0', '--batch is 0; at least 1'),
    ('--layers=0', '--layers is 0; at least 1'),
    ('--attention=cudnn', '--attention=cudnn is for GPUs, and jax sees none'),
    ('--model=nonsense', "model.family is 'nonsense'; it takes one of joint"),
    ('--size=XX', "model.size is 'XX'; factorised_encoder takes one of Ti"),
    ('--crop=100', 'clips of 32 x 100 x 100 cannot be cut into tubelets'),
    ('--what=nonsense', "--what is 'nonsense'; known are forward, step"),
    ('--torch_python=/nowhere', '--torch_python is /nowhere, which is no'),
    ('--size=Ti --against torch', 'nothing of --against can be run here'),
  ],
)
def test_mistakes_are_told_before_a_process_starts(flags, words):
  with pytest.raises(UserError, match=words.replace('.', r'\.')):
    train_step.main(flags.split())
