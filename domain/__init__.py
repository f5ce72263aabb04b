"""What the business means: pure values and decisions, no I/O, no clock, no randomness."""
