"""Deploys the images, the DAGs and the lookup service to an environment that Terraform made."""
