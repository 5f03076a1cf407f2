"""What a product's code holds while it makes an answer: the turn, its steps, its usage."""
