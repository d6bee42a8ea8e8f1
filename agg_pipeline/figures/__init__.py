"""Drawings of images and masks, for pages and notebooks."""
