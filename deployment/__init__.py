"""Deploys what runs to an environment that Terraform made: images, DAGs with what they need, the lookup service."""
