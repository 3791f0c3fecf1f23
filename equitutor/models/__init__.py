"""Networks that the lessons look at and no paper of the book proposes, in plain PyTorch."""
