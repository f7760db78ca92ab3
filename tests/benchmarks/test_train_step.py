"""What a comparison of programs says, and what it refuses."""

import types

import pytest

from benchmarks import train_step
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


@pytest.mark.parametrize(
  'flags, words',
  [
    ('--rounds=0', '--rounds is 0; at least 1'),
    ('--batch=0', '--batch is 0; at least 1'),
    ('--model=nonsense', "model.family is 'nonsense'; known are joint"),
    ('--size=XX', "model.size is 'XX'; known are Ti"),
    ('--crop=100', 'clips of 32 x 100 x 100 cannot be cut into tubelets'),
    ('--what=nonsense', "--what is 'nonsense'; known are forward, step"),
    ('--torch_python=/nowhere', '--torch_python is /nowhere, which is no'),
    ('--size=Ti --against torch', 'nothing of --against can be run here'),
  ],
)
def test_mistakes_are_told_before_a_process_starts(flags, words):
  with pytest.raises(UserError, match=words.replace('.', r'\.')):
    train_step.main(flags.split())
