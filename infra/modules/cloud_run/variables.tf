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
  description = "E-mail address of the service account of the service."
  type        = string
}

variable "network" {
  description = "Full name of the network for outgoing requests."
  type        = string
}

variable "subnetwork" {
  description = "Full name of the subnetwork of the instances. Each needs two addresses."
  type        = string
}

variable "bigtable_instance" {
  description = "Id of the Bigtable instance."
  type        = string
}

variable "app_profile" {
  description = "App profile of lookups."
  type        = string
}

variable "internal" {
  description = "Only requests from the project's networks reach the service."
  type        = bool
}

variable "settings" {
  description = "Settings of the service (docs/serving.md), which take precedence over those of this module."
  type        = map(string)
}

variable "min_instances" {
  description = "Smallest number of instances."
  type        = number
}

variable "max_instances" {
  description = "Largest number of instances."
  type        = number
}

variable "deletion_protection" {
  description = "Terraform refuses to delete the service."
  type        = bool
}
