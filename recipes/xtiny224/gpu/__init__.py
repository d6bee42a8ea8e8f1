"""Training of the click model on a GPU that holds all photographs: ``pack`` collects them, ``train`` trains."""
