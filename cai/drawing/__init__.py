"""What every picture shares: a canvas, colours, and letters that some installed font has."""
