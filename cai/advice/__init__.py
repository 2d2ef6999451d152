"""`cai advise`: which training suits the data that is there, with the reason, its source, the command and the cost."""
