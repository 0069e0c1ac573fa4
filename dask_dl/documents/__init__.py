"""What models and checkpoints say in JSON, as schemas: the form of every field, its bounds, and what must hold between them."""
