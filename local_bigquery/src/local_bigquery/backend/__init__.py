"""The emulator behind the gateway: a process, a REST client, and a proxy of its Storage API."""
