"""What a model costs: parameters, multiply-accumulates, frames per second, peak memory."""
