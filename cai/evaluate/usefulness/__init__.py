"""What an evaluation says of usefulness: whether what a model could do before its training it can do still."""
