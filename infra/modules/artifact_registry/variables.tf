variable "project" {
  description = "Project of the repository."
  type        = string
}

variable "region" {
  description = "Region of the repository: that of Dataflow's workers and the lookup service."
  type        = string
}

variable "name" {
  description = "Id of the repository."
  type        = string
}
