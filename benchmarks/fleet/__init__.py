"""What a fleet over Redis costs, and how fast it follows: `python -m benchmarks.fleet`."""
