"""One case (method, data set, category) becomes scores, and what is odd about them."""
