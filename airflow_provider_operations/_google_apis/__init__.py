"""What Google's API documents say about methods that start an operation: a table, and requests made from it."""
