"""Published checkpoints as data: what each is, its numbers, and how it is tested."""
