"""Reporting checklists of journals, filled in from what a run stores."""
