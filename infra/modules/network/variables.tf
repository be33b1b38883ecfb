variable "project" {
  description = "Project of the network."
  type        = string
}

variable "region" {
  description = "Region of the subnetwork."
  type        = string
}

variable "name" {
  description = "Name of the network and the subnetwork."
  type        = string
}

variable "ip_range" {
  description = "Addresses of the subnetwork, for Dataflow's workers, Cloud Run's instances and Composer."
  type        = string
}

variable "internal" {
  description = "Cloud Run's services get an address in the network."
  type        = bool
}

variable "apis_address" {
  description = "The private address of Cloud Run's services, outside all subnetworks."
  type        = string
}
