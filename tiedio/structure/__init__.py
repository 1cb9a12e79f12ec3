"""Model → flat table of configs (`table`, `plan`), table → model (`audit`, `rebuild`), and the proof (`plain`)."""
