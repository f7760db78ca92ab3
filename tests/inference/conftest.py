"""Fixtures of these tests."""

from workdirs import config as config
from workdirs import trained as trained
