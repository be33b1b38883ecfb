output "ticket_channels" {
  description = "Full names of the channels that are told of what can wait for a working day."
  value       = local.channels.ticket
}
