output "ticket_channels" {
  description = "Full names of the channels for alerts of severity ticket."
  value       = local.channels.ticket
}
