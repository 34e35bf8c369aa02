"""The noise process of a base model: how pictures are noised, what the network is to answer, and the way back.

`process.py` says what a process is; each kind is a file in `processes/`, each loss one in `losses/`. `loss.py` is what
training and validation measure, `denoising.py` how noise becomes latents, `random_draws.py` where random numbers come
from. Nothing here knows a family, a config's file or a trainer.
"""
