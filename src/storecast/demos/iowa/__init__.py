"""Spirits delivered by the State of Iowa to 79 shops, 2012 to 2022. See ATTRIBUTION.md."""
