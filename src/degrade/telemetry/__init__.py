"""What the outside sees: metric names and exporters."""
