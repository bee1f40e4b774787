"""Campaigns: a matrix of overlays, scenarios and programs, run cell by cell into results."""
