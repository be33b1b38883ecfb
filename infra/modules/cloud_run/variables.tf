variable "project" {
  description = "Project of the service."
  type        = string
}

variable "region" {
  description = "Region of the service: that of Bigtable's first cluster."
  type        = string
}

variable "name" {
  description = "Name of the service."
  type        = string
}

variable "service_account" {
  description = "E-mail address of the service account that it runs as."
  type        = string
}

variable "network" {
  description = "Full name of the network that it sends through."
  type        = string
}

variable "subnetwork" {
  description = "Full name of the subnetwork that its instances are in: two addresses each."
  type        = string
}

variable "bigtable_instance" {
  description = "Id of the Bigtable instance that it reads."
  type        = string
}

variable "app_profile" {
  description = "App profile that it reads through."
  type        = string
}

variable "internal" {
  description = "Whether only requests from the project's networks reach it."
  type        = bool
}

variable "settings" {
  description = "Further settings of the service, as docs/serving.md has them; these win."
  type        = map(string)
}

variable "min_instances" {
  description = "How many instances there always are."
  type        = number
}

variable "max_instances" {
  description = "How many instances there may be."
  type        = number
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to delete the service."
  type        = bool
}
