"""What train, evaluate and everything after them share: data, transforms, networks, checkpoints."""
