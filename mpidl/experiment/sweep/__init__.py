"""A sweep: many runs of one configuration, in which some keys take one value after another, on ranks that stay."""
