"""The noise process of a base model: how pictures are noised, what the network is to answer, and the way back.

`process.py` says what a process is; each kind is a file in `processes/`, each loss one in `losses/`, with
`threshold.py` for those that have one. `loss.py` is what training and validation measure, `weighting.py` what a time
weighs in it, `denoising.py` how noise becomes latents, `random_draws.py` where random numbers come from. Nothing here
knows a family, a config's file or a trainer.
"""
