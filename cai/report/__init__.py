"""`cai report`: what a run, an evaluation or a loop was asked, what came out and how well, as one page for a board."""
