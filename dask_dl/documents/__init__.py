"""Schemas of the JSON in models and checkpoints: the form of every field, its bounds, and what must hold between
them.
"""
