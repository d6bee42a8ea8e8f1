"""What is passed on: records, Arrow schemas, configuration and its hash."""
