"""What guards jobs that sleep while the code changes: recorded histories and fingerprints."""
