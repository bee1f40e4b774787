"""What is measured with E3, and how it is shown."""
