"""What servers were seen to answer, and what each answer must be taken for."""
