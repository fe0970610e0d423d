"""The explanations of a run: chosen images, maps kept on disk, measures, pictures."""
