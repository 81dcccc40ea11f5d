"""Figures that geoseg prints about itself, beside its peers, on the same raster with the same model."""
