"""Augmentation of training clips: RandAugment, colours, erasing, mixing.

Random numbers come from named streams (`draws`).
"""
