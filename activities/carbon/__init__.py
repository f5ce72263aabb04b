"""Signal providers: where carbon intensity comes from."""
