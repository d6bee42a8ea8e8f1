"""Files through fsspec, the lock of a folder, and how masks are stored."""
