"""Class names of checkpoint and dataset must be equal, in order."""

import pytest

from vivit_jax.checkpoints import labels
from vivit_jax.errors import UserError

KNOWN = {'verb': ['open', 'close', 'cut'], 'noun': ['door', 'bread']}


def test_equal_names_pass_with_further_heads_in_the_dataset():
  dataset = {head: tuple(names) for head, names in KNOWN.items()}
  labels.check_label_names(KNOWN, dataset | {'scene': ['kitchen']})


@pytest.mark.parametrize(
  ('dataset', 'named'),
  [
    ({'verbs': KNOWN['verb'], 'noun': KNOWN['noun']}, "'verb'.*'verbs'"),
    (KNOWN | {'verb': ['open', 'closed', 'cut']}, "verb.*'closed'"),
    (KNOWN | {'verb': ['open', 'cut']}, "verb.*'close'"),
    (KNOWN | {'verb': ['open', 'cut', 'close']}, "verb.*class 1 .*'cut'"),
    (KNOWN | {'noun': ['door', 'bread', 'door']}, 'noun.* 3 .* 2'),
  ],
)
def test_other_names_are_refused(dataset, named):
  with pytest.raises(UserError, match=named):
    labels.check_label_names(KNOWN, dataset)
