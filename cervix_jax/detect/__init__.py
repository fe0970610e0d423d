"""Detection of nuclei in fields and slides: trained detectors, a classical one, and evaluation."""
