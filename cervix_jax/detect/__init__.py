"""Nuclei in fields and slides: trained detectors, a classical one beside them, and their curve."""
