"""What an export takes at scale: a model from measured costs and published limits, and a simulation that checks it."""
