"""What is measured, each by one command, with the machine and the date beside the figures."""
