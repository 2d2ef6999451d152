"""`cai check`: a dataset measured and filtered, for whoever has to answer for it."""
