"""Labels that differ are told apart: unknown, lacking, or in another order."""

import pytest

from vivit_jax.checkpoints import labels
from vivit_jax.errors import UserError

KNOWN = {'verb': ['open', 'close', 'cut'], 'noun': ['door', 'bread']}


def test_equal_names_pass_with_further_heads_in_the_dataset():
  there = {head: tuple(names) for head, names in KNOWN.items()}
  labels.check_label_names(KNOWN, there | {'scene': ['kitchen']})


@pytest.mark.parametrize(
  ('there', 'told'),
  [
    (
      {'verbs': KNOWN['verb'], 'noun': KNOWN['noun']},
      r"predicts 'verb', .* heads are noun, verbs: .* Did you mean 'verbs'\?",
    ),
    ({}, "predicts 'verb', .* heads are none"),
    (
      KNOWN | {'verb': ['open', 'closed', 'cut', 'fry']},
      r"'closed' of head verb .* \(2 of 4 are\): .* Did you mean 'close'\?",
    ),
    (
      KNOWN | {'verb': ['open', 'cut']},
      r"lacks .* 'close' of head verb \(1 of 3 are lacking\)",
    ),
    (
      KNOWN | {'noun': ['bread', 'door']},
      "head noun .* class 0 is 'door' in the checkpoint and 'bread' in the",
    ),
    (
      KNOWN | {'verb': ['open', 'cut', 'close']},
      "head verb .* class 1 is 'close' in the checkpoint and 'cut' in the",
    ),
    (
      KNOWN | {'noun': ['door', 'bread', 'door']},
      "class 2 is missing in the checkpoint and 'door' in the dataset",
    ),
  ],
)
def test_names_that_differ(there, told):
  with pytest.raises(UserError, match=told):
    labels.check_label_names(KNOWN, there)
