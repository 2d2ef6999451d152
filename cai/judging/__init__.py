"""`cai judge`: a run's pairs judged again."""
