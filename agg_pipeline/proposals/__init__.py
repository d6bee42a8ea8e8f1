"""AGG: runs the proposal stages over a data set, and measures the quality of the proposals."""
