"""What is measured against what, each by one command; README.md has them."""
