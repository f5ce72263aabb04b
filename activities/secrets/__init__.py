"""Secrets: where keys and passwords come from. Nothing read here is written anywhere."""
