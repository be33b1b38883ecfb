variable "project" {
  description = "Project that the service's metrics are in."
  type        = string
}

variable "labels" {
  description = "Labels of channels, alerts and objectives, whose labels the provider does not set."
  type        = map(string)
}

variable "api_service" {
  description = "Name of the lookup service."
  type        = string
}

variable "models" {
  description = "The models that are served."
  type        = set(string)
}

variable "objectives" {
  description = "Whether objectives are made on the service's own metrics, which a first served version brings."
  type        = bool
}

variable "emails" {
  description = "Addresses that are told of what somebody should look at now (page), and on a working day (ticket)."
  type        = object({ page = set(string), ticket = set(string) })
}

variable "channels" {
  description = "Notification channels that exist and are told as well, by their full names."
  type        = object({ page = list(string), ticket = list(string) })
}
