variable "project" {
  description = "Project of the buckets, and first part of their names."
  type        = string
}

variable "name" {
  description = "Second part of the names of the buckets."
  type        = string
}

variable "location" {
  description = "Location of the buckets: the region of the Dataflow jobs."
  type        = string
}

variable "report_days" {
  description = "Retention of latency reports, in days."
  type        = number
}

variable "deletion_protection" {
  description = "Terraform deletes the bucket of reports only if it is empty."
  type        = bool
}
