"""What degrade costs, as ratios in one run beside real peers and a hand-written yardstick."""
