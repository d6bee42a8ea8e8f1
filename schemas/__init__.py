"""What is passed on: records, Arrow schemas, plan and manifest, configuration and its hash."""
