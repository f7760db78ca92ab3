"""Video transformers as Flax modules, built from a `ModelConfig`."""

from vivit_jax.models.builder import build as build
from vivit_jax.models.builder import check as check
from vivit_jax.models.classifier import Features as Features
from vivit_jax.models.family import Family as Family
from vivit_jax.models.family import ModelConfig as ModelConfig
