"""Benchmarks: ratios of two things measured in one run on one machine, never a pass or a fail."""
