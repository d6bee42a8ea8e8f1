"""Pages, pictures, and tables for readers."""
