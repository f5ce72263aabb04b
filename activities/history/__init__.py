"""Histories: observed carbon intensity kept for trends, apart from what decisions read."""
