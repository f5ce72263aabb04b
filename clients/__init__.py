"""How people and programs come in: SDK and CLI."""
