"""Exchange: proposal databases in the formats of other programs, and back."""
