"""Makes the table of Google's methods from the API documents that google-api-python-client brings along."""
