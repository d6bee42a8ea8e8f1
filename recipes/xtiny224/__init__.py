"""How the built-in click model was made."""
