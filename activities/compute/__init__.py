"""Compute backends: where runs run."""
