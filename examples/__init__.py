"""Manifests and programs to start from."""
