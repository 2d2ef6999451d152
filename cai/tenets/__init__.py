"""`cai constitution tenets`: a constitution's principles as testable sentences with scenarios, drafted by a model."""
