"""A dozen techniques that are said to manage entropy, on the same data with the same budget."""
