"""SimpleClick, its adapter, the files of both, and what they compute on."""
