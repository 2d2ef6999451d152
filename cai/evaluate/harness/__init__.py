"""Tasks of EleutherAI's lm-eval on the models of an evaluation: `cai evaluate --harness ifeval,mmlu`."""
