"""DAGs whose tasks the bench looks at; each file has what one kind of task imports."""
