"""What is generated for the stack: alert rules and dashboards from the same budgets, and the stack itself."""
