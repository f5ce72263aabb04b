"""Stores: signals, room, ledger, blobs."""
