"""The proposal database: its contents, writing rows, reading, validation, and the card."""
