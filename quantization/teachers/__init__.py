"""Full-size teachers: published models that label what has no human label."""
