"""Output for people: terminal tables, figures, and the report page."""
