"""Publishing a database: packed into one file, copied to another place, and described for other programs."""
