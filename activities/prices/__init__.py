"""Price feeds: what compute and transfer cost."""
