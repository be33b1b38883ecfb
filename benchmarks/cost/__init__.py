"""What a deployment costs a month: calculated, not measured. docs/cost.md has its tables."""
