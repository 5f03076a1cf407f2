"""The objects that a product's code uses while it makes an answer: the turn, its steps, its usage."""
