"""`cai generate`: prompts in, revised responses and judged pairs out."""
