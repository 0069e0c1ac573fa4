"""Reasons of a model's answers: which inputs matter, how an answer moves with them, and what its layers came to."""
