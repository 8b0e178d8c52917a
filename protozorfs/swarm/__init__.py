"""Finding peers, connecting to them, and keeping feeds the same here and there."""
