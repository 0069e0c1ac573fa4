"""Trainings with many choices of parameters, on tables that are encoded once."""
