variable "project" {
  description = "Project of the network."
  type        = string
}

variable "region" {
  description = "Region of the subnetwork."
  type        = string
}

variable "name" {
  description = "Name of network and subnetwork."
  type        = string
}

variable "ip_range" {
  description = "Addresses of the subnetwork: of Dataflow's workers, Cloud Run's instances, and four of Composer's."
  type        = string
}

variable "internal" {
  description = "Whether Cloud Run's services are reached by an address in the network."
  type        = bool
}

variable "apis_address" {
  description = "That address: a private one, in no subnetwork."
  type        = string
}
