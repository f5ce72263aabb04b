"""Composition root: settings, wiring, the worker process. Only here every adapter is known."""
