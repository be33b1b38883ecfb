variable "project" {
  description = "Project of the repository."
  type        = string
}

variable "region" {
  description = "Region of the repository: that of whoever pulls from it."
  type        = string
}

variable "name" {
  description = "Id of the repository."
  type        = string
}
