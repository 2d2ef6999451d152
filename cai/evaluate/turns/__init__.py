"""Attacks over several turns: a goal, somebody who drives a model towards it, and a judge of every answer."""
