variable "project" {
  description = "Project of the service's metrics."
  type        = string
}

variable "labels" {
  description = "Labels of channels, alerts and objectives, which do not get the provider's default labels."
  type        = map(string)
}

variable "api_service" {
  description = "Name of the lookup service."
  type        = string
}

variable "models" {
  description = "Names of the models."
  type        = set(string)
}

variable "objectives" {
  description = "Create objectives on the service's own metrics, which exist once a first version is active."
  type        = bool
}

variable "emails" {
  description = "E-mail addresses for alerts. page: act now. ticket: act on a working day."
  type        = object({ page = set(string), ticket = set(string) })
}

variable "channels" {
  description = "Existing notification channels for alerts, by their full names."
  type        = object({ page = list(string), ticket = list(string) })
}
