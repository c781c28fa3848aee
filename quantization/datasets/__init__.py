"""Thin readers of the public layouts, one file each: paths and labels as published, nothing else."""
