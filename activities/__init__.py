"""The edge of the world: one thin module for each step, adapters in sub-packages by kind."""
