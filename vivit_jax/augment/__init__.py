"""Augmentation of training clips; `draws` keys every random number by name."""
