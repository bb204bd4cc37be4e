"""The algorithm: PPO for language models that write programs, on plain tensors.

The maths (`advantages`, `losses`, `kl`, `rewards`) is pure: tensors in, tensors out. `loop.py` is the one
place with control flow. Nothing here knows what a program is worth: `loop.train` is handed a scorer.
"""
