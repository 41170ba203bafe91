"""What more the maps of a category say: its slices, intervals by resampling images, and paired and rank tests."""
