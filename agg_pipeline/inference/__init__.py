"""From interactions to probabilities: the predictor, its region of interest, and interactive use."""
