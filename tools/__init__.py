"""Programs that build what the repository ships; nothing at run time imports them."""
