"""show: look at the prepared images as the network will see them."""
