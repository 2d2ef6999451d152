"""`cai judge bench`: what judges are worth, on answers of which it is known which is better."""
