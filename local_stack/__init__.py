"""The cloud on one machine: local stand-ins for the services that Foreserve uses."""
