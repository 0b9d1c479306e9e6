"""Slow, obvious truths in dense NumPy, written from the formulas and sharing no code with the package."""
