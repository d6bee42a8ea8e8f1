"""The pages that are served: a click model to try out."""
