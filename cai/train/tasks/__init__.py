"""Several tasks in one training, each an item of `--data`: schedules, weights, curricula, gradients in conflict."""
