"""How the embedded model is made and measured: its world's dialogues, its training, its card."""
