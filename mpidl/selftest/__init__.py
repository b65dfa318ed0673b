"""A check-up of mpidl on the ranks at hand: area by area, each passed, failed with its cause and cure, or skipped."""
