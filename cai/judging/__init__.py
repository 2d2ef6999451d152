"""`cai judge`: a run's pairs, or anybody's, judged (again)."""
