"""What a response is worth, for methods that draw their own: a constitution's judge, or a trained reward model."""
