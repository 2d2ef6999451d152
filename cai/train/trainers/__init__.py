"""What cai changes in TRL's trainers, and the only place that touches their insides: see `tests/test_train_trl.py`."""
